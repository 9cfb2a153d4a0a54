"""Which items explain a vector of plate steps: hypotheses over products and counts.

Rules of the file: one `Planogram` per shelf holds its geometry and what has been
learned of unit weights; `explain` is array code over all hypotheses at once and
changes nothing. Source: Shelf reference, sections 2.9, 2.10 and 2.12.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.store import Shelf

NULL_LOG = -9.0  # log density of "no item explains this"
MAX_Z = 3.5
CATALOGUE_SD = 0.045
UNIT_SD = 0.012  # unit to unit, share of the weight
GAIN_SD = 0.006  # scale gain, share of the total
FLOOR_SD = 0.008

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A product and how many units of it were added (positive) or taken (negative)."""

    product: int
    units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The best hypothesis: `items` is empty when nothing explains the step."""

    items: tuple[Item, ...]
    log_p: float
    p: float
    z: float
    total_g: float


class Planogram:
    """A shelf's plates and products as arrays, with the unit weights learned so far.

    Parameters
    ----------
    shelf : the shelf; its mass sensors are the plates, in order

    Attributes
    ----------
    facing : shape (products, plates), bool
    near : shape (products, plates), bool, facing and one plate either side
    unit_g, unit_sd_g : float64 [g], learned unit weight and its standard deviation
    """

    def __init__(self, shelf: Shelf) -> None:
        order = {s.id: at for at, s in enumerate(s for s in shelf.sensors if s.kind == "mass")}
        count = len(order)
        kept = [
            at
            for at, product in enumerate(shelf.products)
            if any(sensor in order for sensor in product.sensors) and product.unit_g > 0
        ]
        self.gtins = tuple(shelf.products[at].gtin for at in kept)
        self.plates = count
        self.facing = np.zeros((len(kept), count), bool)
        for row, at in enumerate(kept):
            for sensor in shelf.products[at].sensors:
                if sensor in order:
                    self.facing[row, order[sensor]] = True
        self.near = self.facing.copy()
        self.near[:, 1:] |= self.facing[:, :-1]
        self.near[:, :-1] |= self.facing[:, 1:]
        self.catalogue_g = np.array([shelf.products[at].unit_g for at in kept], np.float64)
        self.unit_g = self.catalogue_g.copy()
        self.unit_sd_g = CATALOGUE_SD * self.catalogue_g
        self.talk = 0.015

    def learn_unit(self, product: int, units: int, total_g: float, error_g: float) -> None:
        """Correct a unit weight by one sure event (scalar Kalman update).

        Parameters
        ----------
        product : index in `gtins`
        units : signed number of units
        total_g : their mass [g], same sign
        error_g : standard deviation of the sum [g]
        """
        count = abs(units)
        unit = self.unit_g[product]
        seen = total_g / units
        variance = (UNIT_SD * unit) ** 2 / count + (error_g / count) ** 2 + (GAIN_SD * unit) ** 2
        variance += 2.0
        gain = self.unit_sd_g[product] ** 2 / (self.unit_sd_g[product] ** 2 + variance)
        self.unit_g[product] += gain * (seen - unit)
        sd = self.unit_sd_g[product] * np.sqrt(1.0 - gain)
        self.unit_sd_g[product] = max(sd, FLOOR_SD * unit)

    def forget_unit(self, product: int) -> None:
        """Go back to the catalogue's weight.

        Parameters
        ----------
        product : index in `gtins`
        """
        self.unit_g[product] = self.catalogue_g[product]
        self.unit_sd_g[product] = CATALOGUE_SD * self.catalogue_g[product]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known about a cluster of steps beside the grams.

    Attributes
    ----------
    step_g : shape (plates,), steps with cross-talk removed [g]
    error_g : standard deviation of their sum [g]
    late_g : mass on plates whose onset differs by half a second or more [g]
    most_units : more units than this cannot have been moved in that time
    blind : shape (plates,), bool, plates that are stuck or silent
    burst : shape (products,), bool, products added within the last 12 s
    """

    step_g: Floats
    error_g: float
    late_g: float
    most_units: float
    blind: NDArray[np.bool_]
    burst: NDArray[np.bool_]


def explain(plan: Planogram, seen: Evidence) -> Explanation:
    """Return the most probable items behind a vector of steps.

    Parameters
    ----------
    plan : the shelf
    seen : the steps and what is known about them

    Returns
    -------
    explanation : items, log density (comparable with `NULL_LOG`), posterior, z, total [g]

    Notes
    -----
    Shelf reference 2.10: singles (product, count), pairs, a unit half on a blind plate.
    """
    v = seen.step_g
    total, size = float(v.sum()), float(np.abs(v).sum())
    nothing = Explanation(items=(), log_p=NULL_LOG, p=1.0, z=0.0, total_g=total)
    if size <= 0.0 or not len(plan.gtins):
        return nothing
    share = (plan.near @ np.abs(v)) / size
    which = np.flatnonzero(share > 0.03)
    if not len(which):
        return nothing
    logs: list[Floats] = []
    names: list[NDArray[np.int64]] = []  # rows (i, ki, j, kj)
    zs: list[Floats] = []
    for part in (_singles, _pairs, _degraded):
        log_p, name, z = part(plan, seen, which, total, size)
        logs.append(log_p)
        names.append(name)
        zs.append(z)
    log_all, name_all, z_all = np.concatenate(logs), np.concatenate(names), np.concatenate(zs)
    if not len(log_all):
        return nothing
    best = int(np.argmax(log_all))
    weight = np.exp(log_all - max(log_all[best], NULL_LOG))
    norm = float(weight.sum() + np.exp(NULL_LOG - max(log_all[best], NULL_LOG)))
    if log_all[best] <= NULL_LOG:
        return nothing
    i, ki, j, kj = (int(x) for x in name_all[best])
    items = [Item(product=i, units=ki)]
    if j >= 0:
        items.append(Item(product=j, units=kj))
    return Explanation(
        items=tuple(items),
        log_p=float(log_all[best]),
        p=float(weight[best] / norm),
        z=float(z_all[best]),
        total_g=total,
    )


_Part = tuple[Floats, NDArray[np.int64], Floats]


def _none() -> _Part:
    return np.empty(0), np.empty((0, 4), np.int64), np.empty(0)


def _late(seen: Evidence, size: float) -> float:
    return min(6.0, 1.5 * seen.late_g / (0.02 * size + 2.0 * seen.error_g))


def _spread(plan: Planogram, product: NDArray[np.int64], units: Floats) -> Floats:
    """Variance that the items themselves bring [g^2]."""
    count, sd, unit = np.abs(units), plan.unit_sd_g[product], plan.unit_g[product]
    return np.asarray((count * sd) ** 2 + count * (UNIT_SD * unit) ** 2)


def _singles(
    plan: Planogram, seen: Evidence, which: NDArray[np.int64], total: float, size: float
) -> _Part:
    v, error = seen.step_g, seen.error_g
    nearest = np.rint(total / plan.unit_g[which])
    k = nearest[:, None] + np.arange(-2.0, 3.0)
    usable = (k != 0) & (k * total > 0) & (np.abs(k) <= seen.most_units)
    usable[:, [0, 4]] &= np.abs(nearest[:, None]) >= 8
    row, column = np.nonzero(usable)
    if not len(row):
        return _none()
    i, k1 = which[row], k[row, column]
    variance = _spread(plan, i, k1) + error**2 + (GAIN_SD * total) ** 2
    z = (total - k1 * plan.unit_g[i]) / np.sqrt(variance)
    near = plan.near[i] @ v
    outside = 1.0 - (plan.facing[i] @ np.abs(v)) / size
    log_p = -0.5 * z**2 - 0.5 * np.log(variance) - 0.7 * np.minimum(np.abs(k1) - 1, 3)
    log_p -= 0.5 * ((near - total) / (0.15 * size + error)) ** 2
    log_p -= 0.5 * (np.maximum(0.0, outside - 0.15) / 0.35) ** 2
    log_p -= _late(seen, size)
    log_p += np.where(seen.burst[i] & (k1 > 0), 3.0, 0.0)
    fits = np.abs(z) < MAX_Z
    name = np.stack([i, k1.astype(np.int64), np.full_like(i, -1), np.zeros_like(i)], axis=1)
    return log_p[fits], name[fits], z[fits]


_K = np.array([-2.0, -1.0, 1.0, 2.0])


def _pairs(
    plan: Planogram, seen: Evidence, which: NDArray[np.int64], total: float, size: float
) -> _Part:
    v, error = seen.step_g, seen.error_g
    a, b = np.triu_indices(len(which), 1)
    if not len(a):
        return _none()
    i = np.repeat(which[a], 16)
    j = np.repeat(which[b], 16)
    ki, kj = np.tile(np.repeat(_K, 4), len(a)), np.tile(_K, 4 * len(a))
    wi, wj = ki * plan.unit_g[i], kj * plan.unit_g[j]
    variance = _spread(plan, i, ki) + _spread(plan, j, kj) + error**2 + (GAIN_SD * size) ** 2
    z = (total - wi - wj) / np.sqrt(variance)
    fits = np.abs(z) < MAX_Z
    if not fits.any():
        return _none()
    i, j, ki, kj, wi, wj, z = i[fits], j[fits], ki[fits], kj[fits], wi[fits], wj[fits], z[fits]
    variance = variance[fits]
    near_i, near_j = plan.near[i], plan.near[j]
    only_i, only_j = (near_i & ~near_j) @ v, (near_j & ~near_i) @ v
    both, away = (near_i & near_j) @ v, ~(near_i | near_j) @ v
    low, high = np.minimum(0.0, both), np.maximum(0.0, both)
    gap_i = _outside(wi - only_i, low, high)
    gap_j = _outside(wj - only_j, low, high)
    log_p = -0.5 * z**2 - 0.5 * np.log(variance) - 2.5 - 0.7 * (np.abs(ki) + np.abs(kj) - 2)
    log_p -= np.where(ki * kj < 0, 2.5, 0.0)
    slack = 0.08 * size + error
    log_p -= 0.5 * ((gap_i**2 + gap_j**2 + away**2) / slack**2)
    own_i = np.clip(np.sign(wi)[:, None] * v, 0.0, None)
    own_j = np.clip(np.sign(wj)[:, None] * v, 0.0, None)
    holds = (own_i * plan.facing[i]).sum(axis=1) >= 0.45 * np.abs(wi)
    holds &= (own_j * plan.facing[j]).sum(axis=1) >= 0.45 * np.abs(wj)
    log_p += np.where(seen.burst[i] & (ki > 0), 3.0, 0.0)
    name = np.stack([i, ki.astype(np.int64), j, kj.astype(np.int64)], axis=1)
    return log_p[holds], name[holds], z[holds]


def _outside(x: Floats, low: Floats, high: Floats) -> Floats:
    return np.asarray(np.maximum(0.0, np.maximum(low - x, x - high)))


def _degraded(
    plan: Planogram, seen: Evidence, which: NDArray[np.int64], total: float, size: float
) -> _Part:
    """One unit of which a blind plate hides a part."""
    hit = which[(plan.facing[which] & seen.blind).any(axis=1)]
    if not len(hit):
        return _none()
    part = abs(total) / plan.unit_g[hit]
    near = np.abs(plan.near[hit] @ seen.step_g - total) < 0.15 * size + seen.error_g
    hit = hit[(part > 0.10) & (part < 1.03) & near]
    log_p = -np.log(0.45 * plan.unit_g[hit]) - 1.0 - _late(seen, size)
    sign = np.full_like(hit, 1 if total > 0 else -1)
    name = np.stack([hit, sign, np.full_like(hit, -1), np.zeros_like(hit)], axis=1)
    return log_p, name, np.zeros(len(hit))
