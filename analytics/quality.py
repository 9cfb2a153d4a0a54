"""How good the tables of an analysis are against a truth: the figures of `fanous evaluate`.

Rules of the file: `score` takes tables as columns named as in the public contract
(section 3), from files or straight from memory, and returns the figures of section 9.
Everything is decided by that section; where it leaves something open, this is how it
is read here, and why:

- A row's time is its tick's end. The ticks of the truth, not the rows, are counted, so
  an analysis cannot better its figures by staying silent: ``rows`` are the ticks
  that have a position, ``unknown`` is the share of ticks that have none.
- Rows of several layers repeat one position; that of layer main is taken if there is one.
- Being outside every zone is an answer that can be right (it counts in ``accuracy``) but
  is no zone (it is not in ``macro_f1``, and no time is booked to it).
- ``switches`` and ``true_switches`` count changes from tick to tick of one tag. An unknown
  tick is no change, the answers on both its sides are compared; a gap in the truth
  is not crossed by either.
- ``dwell_misplaced`` sums, over the zones, the ticks booked beyond the zone's true ticks
  (all tags and truths together), and divides by all ticks of the truth.
- The true dwells come from the truth's ticks by the store's rules. Estimated dwells are
  cut to what the truth covers, and pieces below `dwell_min_s` are left out, as such a
  piece of the truth is. A dwell matches one of the same tag and zone.
- A true path is the zones of a visit's true dwells with repeats merged; visits match by
  largest overlap, a true visit that matches none has a distance of 1.
- Shelf events match within 2.5 s by shelf and sign (a return and a restock both put
  something there), nearest first. Before that, events of one product and sign on one
  shelf that follow each other within 2 s (picks) or 8 s (puts) become one, on both sides.
- A figure over nothing is None, not zero. A part without truth is None.

The definitions of errors and rates follow the reference measurements of this project
(dwell error and path distance as in the synthetic study of zone filters, shelf rule of
the shelf generator's scorer).
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics.quality_figures import (
    Columns,
    DwellFigures,
    PathFigures,
    PositionFigures,
    TrueStays,
    ZoneFigures,
    answers,
    codes_of,
    dwell_figures,
    path_figures,
    position_figures,
    zone_figures,
)
from analytics.quality_shelf import ShelfFigures, shelf_figures
from analytics.quality_truth import BY_POLYGON, OUTSIDE, true_dwells, truth_ticks
from analytics.rows import STAGES
from analytics.store import Rules, Zone


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """All figures; a part without truth (or without a table to judge) is None.

    Attributes
    ----------
    position, zones : by stage, live and final
    dwells, paths, shelf : of the final tables
    ticks : truth ticks that were scored
    ticks_met : those that have a row in any stage, known or not; 0 of many means that truth
        and tables are of different tags or times
    """

    position: dict[str, PositionFigures] | None
    zones: dict[str, ZoneFigures] | None
    dwells: DwellFigures | None
    paths: PathFigures | None
    shelf: ShelfFigures | None
    ticks: int
    ticks_met: int

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON object of contract section 9."""
        table = asdict(self)
        del table["ticks"], table["ticks_met"]
        return table


def pool_truths(truths: Iterable[Columns]) -> dict[str, NDArray[Any]]:
    """Join truth tables into one; rows without usable time, tag or place are left out.

    Parameters
    ----------
    truths
        tables of ``t_ns, tag, x_m, y_m`` and optionally ``zone, floor``

    Returns
    -------
    truth : the same columns; ``zone`` and ``floor`` hold None where a table does not say (no
        such column, or nothing in it), ``zone`` "" for in no zone

    Examples
    --------
    >>> row = {"t_ns": np.array([1]), "tag": np.array(["p"]), "x_m": np.array([2.0]),
    ...        "y_m": np.array([3.0])}
    >>> pool_truths([row, row | {"zone": np.array(["shoes"])}])["zone"].tolist()
    [None, 'shoes']
    """
    parts = []
    for table in truths:
        t_ns = np.asarray(table["t_ns"], np.int64)
        x_m, y_m = np.asarray(table["x_m"], np.float64), np.asarray(table["y_m"], np.float64)
        zone, floor = (np.full(len(t_ns), None, dtype=object) for _ in range(2))
        for name, column in (("zone", zone), ("floor", floor)):
            if name in table and (np.asarray(table[name]) != "").any():
                column[:] = table[name]
        tag = np.asarray(table["tag"], dtype=object)
        good = (t_ns >= 0) & np.isfinite(x_m) & np.isfinite(y_m) & (tag != "")
        parts.append(tuple(column[good] for column in (t_ns, tag, x_m, y_m, zone, floor)))
    names = ("t_ns", "tag", "x_m", "y_m", "zone", "floor")
    if not parts:
        kinds = (np.int64, object, np.float64, np.float64, object, object)
        return {name: np.zeros(0, kind) for name, kind in zip(names, kinds, strict=True)}
    return {
        name: np.concatenate(c) for name, c in zip(names, zip(*parts, strict=True), strict=True)
    }


def score(
    *,
    positions: Columns,
    truths: Sequence[Columns],
    dwells: Columns | None = None,
    visits: Columns | None = None,
    shelf_events: Columns | None = None,
    shelf_truth: Columns | None = None,
    zones: Sequence[Zone] = (),
    rules: Rules | None = None,
    staff: Collection[str] = (),
) -> Scores:
    """Judge the tables of an analysis against truths.

    Every table is a mapping of the contract's column names to arrays of equal length; more
    columns than named here do no harm. Texts are str (object or fixed-width arrays), an empty
    cell is "" or None, an empty number NaN. Tags must be of one kind (all raw, or all
    pseudonyms) in every table. No array is changed.

    Parameters
    ----------
    positions
        ``t_ns`` int64 [ns], ``tag, stage, layer, zone, zone_state`` str,
        ``x_m, y_m`` float [m]
    truths
        each ``t_ns, tag, x_m, y_m`` and optionally ``zone, floor``; see `pool_truths`
    dwells
        ``tag, layer, zone`` str, ``start_ns, end_ns`` int64, ``dwell_s`` float; None: not
        judged
    visits
        ``tag, path`` str, ``start_ns, end_ns`` int64; None: not judged
    shelf_events
        ``t_ns`` int64, ``shelf, gtin, kind, status`` str; None: not judged
    shelf_truth
        ``t_ns`` int64, ``shelf, gtin, kind`` str
    zones
        the store's zones; those of layer main place truth rows that name no zone
    rules
        the store's rules
    staff
        tags that are never visitors: their positions count, their dwells and visits not

    Returns
    -------
    scores : the figures; see the module's docstring for each definition

    Raises
    ------
    ValueError
        A stage of `positions` is neither live nor final.

    Examples
    --------
    >>> at = np.array([10**9, 2 * 10**9])
    >>> text = lambda value: np.array([value] * 2, dtype=object)
    >>> rows = {"t_ns": at, "tag": text("p"), "stage": text("final"), "layer": text("main"),
    ...         "zone": text(""), "zone_state": text("outside"),
    ...         "x_m": np.array([1.0, 2.0]), "y_m": np.zeros(2)}
    >>> truth = {"t_ns": at, "tag": text("p"), "x_m": np.zeros(2), "y_m": np.zeros(2)}
    >>> score(positions=rows, truths=[truth]).position["final"].mean_m
    1.5
    """
    rules = rules or Rules()
    zones = [zone for zone in zones if zone.layer == "main"]
    truth = pool_truths(truths)
    tag_codes: dict[Any, int] = {}
    zone_codes: dict[Any, int] = {None: BY_POLYGON, "": OUTSIDE}
    codes_of(np.array([zone.id for zone in zones], dtype=object), zone_codes)
    ticks = truth_ticks(
        t_ns=truth["t_ns"],
        tag=codes_of(truth["tag"], tag_codes),
        x_m=truth["x_m"],
        y_m=truth["y_m"],
        zone=codes_of(truth["zone"], zone_codes),
        zones=zones,
        tick_ns=rules.tick_ns,
        floor=truth["floor"],
    )
    has_zones = any(code >= 0 for code in zone_codes.values())
    shelf = shelf_figures(shelf_events, shelf_truth)
    if not len(ticks):
        return Scores(
            position=None, zones=None, dwells=None, paths=None, shelf=shelf, ticks=0, ticks_met=0
        )
    found = answers(positions, ticks, tag_codes, zone_codes, rules.tick_ns)
    met = np.logical_or.reduce([found[stage].met for stage in STAGES])
    figures = Scores(
        position={stage: position_figures(found[stage], ticks) for stage in STAGES},
        zones=None,
        dwells=None,
        paths=None,
        shelf=shelf,
        ticks=len(ticks),
        ticks_met=int(met.sum()),
    )
    if not has_zones:
        return figures
    staff_codes = [tag_codes[tag] for tag in staff if tag in tag_codes]
    visitors = ticks.take(~np.isin(ticks.tag, staff_codes))
    true, true_zone = true_dwells(visitors, rules)
    stays = TrueStays(
        ticks=visitors,
        dwells=true,
        zone=true_zone,
        tag_codes=tag_codes,
        zone_codes=zone_codes,
        rules=rules,
    )
    return replace(
        figures,
        zones={stage: zone_figures(found[stage].zone, ticks) for stage in STAGES},
        dwells=None if dwells is None else dwell_figures(dwells, stays),
        paths=None if visits is None else path_figures(visits, stays),
    )
