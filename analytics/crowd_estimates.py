"""How many are in a zone, and how sure that is: minute by minute, from the corrected belief.

`analytics.minutes` counts decisions; here probabilities add up. Rules of the file:
masses become whole numbers of `GRAINS` before they are added, so the sums do not depend
on the order or the portions in which blocks and ticks come. A tick counts the tags heard
in it, each with the ticks it stands for, so that silence is made up for when it ends.

**Tags.** In one tick a zone holds a sum of independent yes-or-no questions, one per tag:
mean Σ p, variance Σ p (1 - p) (Poisson's binomial; Johnson, Kemp and Kotz 2005,
Univariate Discrete Distributions, 3rd ed., section 3.12.2). The ticks of a minute err
together, because they look at the same people through the same wrong radio map: the
variance of a minute's mean is therefore the mean of its ticks' variances and does not
shrink with their number. That is the most it can be when each tag's errors are wholly
correlated within the minute.

**Everybody.** If a share s of all people carries a tag, and n tags are seen, the number
of people N has, before anything else is known about it (a flat prior), the likelihood
C(N, n) sⁿ (1-s)ᴺ⁻ⁿ: the unseen N - n are negative binomial with n + 1 successes, most
probable is n / s, and their variance is (n + 1)(1 - s) / s² (the same book, chapter 5;
Raftery 1988, Biometrika 75, 223-228, on priors of N). With an uncertain n both add up:
variance (E n + 1)(1 - s) / s² + Var n / s². With s = 1 this is the number of tags.

How often the truth lies within two sigma: docs/interface.md, repeated by
tests/gateway/test_crowd_truth.py on a simulated shop.
"""

import numpy as np
from numpy.typing import NDArray

from analytics.rows import OccupancyEstimate
from analytics.store import Store

GRAINS = 1 << 15
"""Parts into which a probability is cut."""
_MINUTE_NS = 60 * 10**9


class CrowdEstimates:
    """Collects the corrected zone masses of ticks, gives rows of minutes that are complete.

    Parameters
    ----------
    store : zones and rules

    Examples
    --------
    >>> import numpy as np
    >>> from analytics.store import Store, Zone
    >>> box = ((0, 0), (5, 0), (5, 5), (0, 5))
    >>> zone = Zone(id="a", name="A", kind="aisle", polygon_m=box)
    >>> store = Store(id="s", name="S", timezone="UTC", outline_m=box, receivers=(), zones=(zone,))
    >>> crowd = CrowdEstimates(store)
    >>> for tick in range(60):
    ...     crowd.seen(tick)
    ...     crowd.note(tick, np.array([1, 1]), np.array([[0.5, 1.0]], np.float32))
    >>> row = crowd.advance(60 * 10**9)[0]
    >>> row.tagged, row.tagged_sigma
    (1.5, 0.5)
    """

    def __init__(self, store: Store) -> None:
        self._zones = store.zones
        self._share = store.rules.tagged_share
        self._tick_ns = store.rules.tick_ns
        self._ticks = max(1, _MINUTE_NS // self._tick_ns)
        self._sums: dict[int, NDArray[np.int64]] = {}
        self._seen: set[int] = set()
        self._emitted = -(1 << 60)

    def seen(self, tick: int) -> None:
        """Note that something was heard in a tick: only such minutes have rows.

        Parameters
        ----------
        tick : int
        """
        self._seen.add(self._minute(tick))

    def note(self, tick: int, weight: NDArray[np.number], zone_mass: NDArray[np.float32]) -> None:
        """Add the corrected answer of some lanes in one tick.

        Parameters
        ----------
        tick : int
        weight : shape (lanes,), whole numbers [ticks], how many the lane's evidence in this
            tick stands for: 0 = none; else the ticks since its last evidence, at most 10
        zone_mass : shape (zones, lanes), float [0-1], probability of each zone of
            `Store.zones`; slightly outside of 0 to 1 is cut off
        """
        minute = self._minute(tick)
        here = np.flatnonzero(weight)
        if minute <= self._emitted or not len(here):
            return
        p = np.rint(np.clip(zone_mass[:, here], 0, 1) * np.float32(GRAINS)).astype(np.float64)
        ticks = weight[here].astype(np.float64)
        # Whole numbers below 2⁵³: these float64 products are exact in any order.
        mean = (p @ ticks).astype(np.int64)
        variance = ((p * (GRAINS - p)) @ ticks).astype(np.int64)
        if minute not in self._sums:
            self._sums[minute] = np.zeros((2, len(self._zones)), np.int64)
        self._sums[minute] += [mean, variance]

    def advance(self, settled_ns: int) -> list[OccupancyEstimate]:
        """Give the rows of all minutes that are complete.

        Parameters
        ----------
        settled_ns : int [ns], everything before is noted

        Returns
        -------
        rows : one per zone and minute in which something was heard, in order
        """
        last = settled_ns // _MINUTE_NS - 1
        rows: list[OccupancyEstimate] = []
        for minute in sorted(m for m in self._seen if self._emitted < m <= last):
            rows += self._rows(minute)
        self._emitted = max(self._emitted, last)
        self._seen = {m for m in self._seen if m > last}
        self._sums = {m: found for m, found in self._sums.items() if m > last}
        return rows

    def _minute(self, tick: int) -> int:
        return tick * self._tick_ns // _MINUTE_NS

    def _rows(self, minute: int) -> list[OccupancyEstimate]:
        none = np.zeros((2, len(self._zones)), np.int64)
        mean, variance = self._sums.get(minute, none) / self._ticks
        tagged, tagged_var = mean / GRAINS, variance / GRAINS**2
        people, people_var = everybody(tagged, tagged_var, self._share)
        columns = (tagged, np.sqrt(tagged_var), people, np.sqrt(people_var))
        return [
            OccupancyEstimate(
                t_ns=(minute + 1) * _MINUTE_NS,
                layer=zone.layer,
                zone=zone.id,
                tagged=values[0],
                tagged_sigma=values[1],
                people=values[2],
                people_sigma=values[3],
            )
            for zone, values in zip(
                self._zones, np.round(np.stack(columns, axis=1), 3).tolist(), strict=True
            )
        ]


def everybody(
    tagged: NDArray[np.float64], tagged_var: NDArray[np.float64], share: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how many people there are when only a share of them carries a tag.

    Parameters
    ----------
    tagged : shape (n,), float64, expected number of tags
    tagged_var : shape (n,), float64, its variance
    share : float, > 0 and at most 1, of all people who carry a tag

    Returns
    -------
    people, variance : shape (n,), float64; the derivation is in the module's docstring

    Raises
    ------
    ValueError
        The share is not above 0 and at most 1.

    Examples
    --------
    >>> import numpy as np
    >>> people, variance = everybody(np.array([3.0]), np.zeros(1), 0.5)
    >>> people.tolist(), variance.tolist()
    ([6.0], [8.0])
    """
    if not 0 < share <= 1:
        raise ValueError(f"tagged_share: expected above 0 and at most 1, got {share}")
    unseen_var = (tagged + 1) * (1 - share) / share**2
    return tagged / share, unseen_var + tagged_var / share**2
