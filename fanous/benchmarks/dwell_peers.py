"""Dwell sessions by other means: plain Python, pandas, polars, trackintel, movingpandas.

Rules of the file: every peer gets the same rows and does in its own idiom what comes
nearest to: a session is a run of one zone without a silence of more than the gap, and
counts from the shortest dwell on. Each returns how many it found, so that nobody is
quick by doing less; where its definition differs, `PEERS` says how. A package that
is not installed is left out (``make bench-peers`` installs them all).
"""

import datetime as dt
import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics.store import Rules
from fanous.benchmarks.crowd import READINGS_PER_S, START_NS

Table = Any
"""A peer's own kind of table; its package has no types, or is not there."""
ZONES_ACROSS, ZONE_M = 8, 6.0
"""Zones lie side by side in squares, for peers that need places."""
METRES_PER_DEGREE = 111_320.0
_NEAR_M = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """Rows that have their zone, in order of tag and time.

    Attributes
    ----------
    t_ns : shape (n,), int64 [ns]
    tag : shape (n,), int32
    zone : shape (n,), int16
    """

    t_ns: NDArray[np.int64]
    tag: NDArray[np.int32]
    zone: NDArray[np.int16]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.t_ns)

    def taken(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> "Labelled":
        """Return some of the rows.

        Parameters
        ----------
        rows : which
        """
        return Labelled(t_ns=self.t_ns[rows], tag=self.tag[rows], zone=self.zone[rows])

    def by_time(self) -> "Labelled":
        """Return the rows in order of time, as they were recorded."""
        return self.taken(np.argsort(self.t_ns, kind="stable"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Somebody else's way.

    Attributes
    ----------
    needs : packages
    rows_most : int, rows it is given at most: some would take hours for a day
    prepare : makes its own table of the rows, which is not measured
    count : finds the sessions in it and returns their number
    differs : why its number may differ from ours, empty where it may not
    """

    needs: tuple[str, ...]
    rows_most: int
    prepare: Callable[[Labelled], Table]
    count: Callable[[Table, Rules], int]
    differs: str = ""

    def missing(self) -> tuple[str, ...]:
        """Return the packages that are not installed."""
        return tuple(name for name in self.needs if importlib.util.find_spec(name) is None)


def make_labelled(
    *, tags: int, seconds: float, seed: int, zones: int = 40, flicker: float = 0.0
) -> Labelled:
    """Return labelled rows of people who stay 45 s in a zone on average.

    Parameters
    ----------
    tags : int
    seconds : [s] heard of each, 7 rows a second; in some there is a silence of a minute
    seed : int
    zones : int
    flicker : float [0-1], share of the rows that name the next zone instead
    """
    rng = np.random.default_rng(seed)
    each = round(seconds * READINGS_PER_S)
    t_s = np.sort(rng.uniform(0.0, seconds, (tags, each)), axis=1)
    t_s += 60.0 * np.cumsum(rng.random((tags, each)) < 1 / (2 * each), axis=1)
    moves = np.cumsum(rng.random((tags, each)) < 1 / (45.0 * READINGS_PER_S), axis=1)
    moves = rng.integers(0, zones, (tags, 1)) + 7 * moves
    zone = (moves + (rng.random((tags, each)) < flicker)) % zones
    return Labelled(
        t_ns=(START_NS + 1000 * np.round(t_s * 1e6).astype(np.int64)).ravel(),
        tag=np.repeat(np.arange(tags, dtype=np.int32), each),
        zone=zone.astype(np.int16).ravel(),
    )


def _lists(rows: Labelled) -> tuple[list[int], list[int], list[int]]:
    return rows.t_ns.tolist(), rows.tag.tolist(), rows.zone.tolist()


def _plain_python(rows: tuple[list[int], list[int], list[int]], rules: Rules) -> int:
    gap_ns, least_ns = round(rules.dwell_gap_s * 1e9), round(rules.dwell_min_s * 1e9)
    state: dict[int, tuple[int, int, int]] = {}
    found = 0
    for t_ns, tag, zone in zip(*rows, strict=True):
        held = state.get(tag)
        if held is None:
            state[tag] = (zone, t_ns, t_ns)
        elif held[0] == zone and t_ns - held[2] <= gap_ns:
            state[tag] = (zone, held[1], t_ns)
        else:
            found += held[2] - held[1] >= least_ns
            state[tag] = (zone, t_ns, t_ns)
    return found + sum(held[2] - held[1] >= least_ns for held in state.values())


def _pandas_table(rows: Labelled) -> Table:
    pandas = importlib.import_module("pandas")
    return pandas.DataFrame({"t_ns": rows.t_ns, "tag": rows.tag, "zone": rows.zone})


def _pandas(table: Table, rules: Rules) -> int:
    table = table.sort_values(["tag", "t_ns"], kind="stable")
    before = table.shift()
    cut = (table["tag"] != before["tag"]) | (table["zone"] != before["zone"])
    cut |= table["t_ns"].diff() > rules.dwell_gap_s * 1e9
    found = table.groupby(cut.cumsum())["t_ns"].agg(["min", "max"])
    return int(((found["max"] - found["min"]) >= rules.dwell_min_s * 1e9).sum())


def _polars_table(rows: Labelled) -> Table:
    polars = importlib.import_module("polars")
    return polars.DataFrame({"t_ns": rows.t_ns, "tag": rows.tag, "zone": rows.zone})


def _polars(table: Table, rules: Rules) -> int:
    col = importlib.import_module("polars").col
    cut = (col("tag") != col("tag").shift()) | (col("zone") != col("zone").shift())
    cut |= col("t_ns").diff() > round(rules.dwell_gap_s * 1e9)
    found = (
        table.sort("tag", "t_ns")
        .with_columns(run=cut.fill_null(value=True).cum_sum())
        .group_by("run")
        .agg(length=col("t_ns").max() - col("t_ns").min())
    )
    return int((found["length"] >= round(rules.dwell_min_s * 1e9)).sum())


def _places(rows: Labelled) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a place within a metre, along x and along y, of the middle of each row's zone [m]."""
    rng = np.random.default_rng(len(rows))
    y, x = np.divmod(rows.zone, ZONES_ACROSS)
    return (
        (x + 0.5) * ZONE_M + rng.uniform(-1.0, 1.0, len(rows)),
        (y + 0.5) * ZONE_M + rng.uniform(-1.0, 1.0, len(rows)),
    )


def _trackintel_table(rows: Labelled) -> Table:
    geopandas, pandas, trackintel, shapely = (
        importlib.import_module(name) for name in ("geopandas", "pandas", "trackintel", "shapely")
    )
    x_m, y_m = _places(rows)
    fixes = geopandas.GeoDataFrame(
        {"user_id": rows.tag, "tracked_at": pandas.to_datetime(rows.t_ns, utc=True)},
        geometry=geopandas.points_from_xy(x_m / METRES_PER_DEGREE, y_m / METRES_PER_DEGREE),
        crs="EPSG:4326",
    )
    fixes.index.name = "id"
    edge = ZONE_M / METRES_PER_DEGREE
    last = int(rows.zone.max()) + 1
    corners = [divmod(zone, ZONES_ACROSS) for zone in range(last)]
    zones = geopandas.GeoDataFrame(
        {"zone": range(last)},
        geometry=[
            shapely.box(x * edge, y * edge, (x + 1) * edge, (y + 1) * edge) for y, x in corners
        ],
        crs="EPSG:4326",
    )
    return trackintel.Positionfixes(fixes), zones


def _trackintel(tables: Table, rules: Rules) -> int:
    fixes, zones = tables
    geopandas = importlib.import_module("geopandas")
    _, stays = fixes.generate_staypoints(
        method="sliding",
        distance_metric="haversine",
        dist_threshold=_NEAR_M,
        time_threshold=rules.dwell_min_s / 60,
        gap_threshold=rules.dwell_gap_s / 60,
        include_last=True,
    )
    return len(geopandas.sjoin(stays, zones, predicate="within"))


def _movingpandas_table(rows: Labelled) -> Table:
    geopandas, pandas = (importlib.import_module(name) for name in ("geopandas", "pandas"))
    x_m, y_m = _places(rows)
    frame = geopandas.GeoDataFrame(
        {"tag": rows.tag, "zone": rows.zone, "t": pandas.to_datetime(rows.t_ns)},
        geometry=geopandas.points_from_xy(x_m, y_m),
        crs="EPSG:3857",
    )
    return frame.set_index("t")


def _movingpandas(table: Table, rules: Rules) -> int:
    movingpandas = importlib.import_module("movingpandas")
    gap, least = (dt.timedelta(seconds=s) for s in (rules.dwell_gap_s, rules.dwell_min_s))
    walks = movingpandas.TrajectoryCollection(table, "tag")
    parts = movingpandas.ObservationGapSplitter(walks).split(gap=gap)
    stays = movingpandas.ValueChangeSplitter(parts).split(col_name="zone")
    return sum(stay.get_duration() >= least for stay in stays.trajectories)


PEERS: dict[str, Peer] = {
    "plain-python": Peer(needs=(), rows_most=1 << 40, prepare=_lists, count=_plain_python),
    "pandas": Peer(needs=("pandas",), rows_most=1 << 40, prepare=_pandas_table, count=_pandas),
    "polars": Peer(needs=("polars",), rows_most=1 << 40, prepare=_polars_table, count=_polars),
    "trackintel": Peer(
        needs=("trackintel", "geopandas", "pandas", "shapely"),
        rows_most=50_000,
        prepare=_trackintel_table,
        count=_trackintel,
        differs="a stay lies within 3 m of its first fix and ends with the first fix outside",
    ),
    "movingpandas": Peer(
        needs=("movingpandas", "geopandas", "pandas"),
        rows_most=20_000,
        prepare=_movingpandas_table,
        count=_movingpandas,
        differs="a run also has the first row of the next one, so shorter runs count",
    ),
}
"""The peers in the order of the table."""
