"""Lists over HTTP: the tables of contract section 3, filtered by time, paged.

Rules of the file: a page ends after a key, and `next` begins after it, so rows that
are written in between neither repeat nor vanish; only names of this file reach SQL;
everything from the request is a parameter. Runs in a thread, not in the loop.
"""

import base64
import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import msgspec

from analytics.heat import QUARTER_NS
from gateway.flow import transitions_between
from gateway.result_store import ResultStore
from gateway.result_tables import COLUMNS, HOUR_NS, KEYS, TIME_COLUMN

LIMIT_DEFAULT = 1000
LIMIT_MAX = 10_000
T_MAX_NS = 2**63 - 1
LISTS = {
    "dwells": "dwells",
    "visits": "visits",
    "shelves": "shelf_events",
    "queues": "queues",
    "occupancy": "occupancy",
    "occupancy_estimates": "occupancy_estimates",
    "receivers": "receiver_health",
}
SHELF_TABLES = {
    "events": "shelf_events",
    "stock": "shelf_stock",
    "health": "sensor_health",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Raster:
    """The store's cells and ticks: edge [m] and length [s]; id of its first floor."""

    cell_m: float
    tick_s: float
    floor: str = "0"


class BadQueryError(ValueError):
    """A parameter of the request is wrong; the message is for the client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a list; `next_query` is None on the last."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    next_query: str | None
    extra: Mapping[str, Any]

    def as_json(self, path: str) -> bytes:
        """Return ``{"rows": [...], "next": url or null}``.

        Parameters
        ----------
        path : of the request, for `next`
        """
        rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        following = f"{path}?{self.next_query}" if self.next_query else None
        return msgspec.json.encode({**self.extra, "rows": rows, "next": following})

    def as_csv(self) -> bytes:
        """Return the rows as CSV with a header; an empty cell for what is unknown."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.rows)
        return text.getvalue().encode()


def read_list(results: ResultStore, name: str, query: Mapping[str, str], raster: Raster) -> Page:
    """Return one page of a list.

    Parameters
    ----------
    results : the embedded store
    name : transitions, heatmap or a key of `LISTS`
    query : from, to, limit, after, format; shelves also table = events, stock or health;
        heatmap cell_m and floor instead of limit and after
    raster : of the store, for the heat map

    Raises
    ------
    BadQueryError
        A parameter is wrong.
    """
    from_ns = read_time(query.get("from"), "from", 0)
    to_ns = read_time(query.get("to"), "to", T_MAX_NS)
    if query.get("format", "json") not in ("json", "csv"):
        raise BadQueryError(f"format: expected json or csv, got {query['format'][:20]!r}")
    if name == "transitions":
        return _transitions_page(results, query, (from_ns, to_ns))
    if name == "heatmap":
        return _heatmap(results, query, (from_ns, to_ns), raster)
    table = LISTS[name]
    if name == "shelves":
        wanted = query.get("table", "events")
        if wanted not in SHELF_TABLES:
            raise BadQueryError(f"table: expected events, stock or health, got {wanted[:20]!r}")
        table = SHELF_TABLES[wanted]
    return _table_page(results, table, query, (from_ns, to_ns))


def read_time(text: str | None, name: str, default: int) -> int:
    """Return a moment given as RFC 3339 or as nanoseconds.

    Parameters
    ----------
    text : the parameter; None = not given
    name : of the parameter, for the message
    default : [ns] when it is not given

    Raises
    ------
    BadQueryError
        It is neither.

    Examples
    --------
    >>> read_time("1970-01-01T00:00:01.5Z", "from", 0)
    1500000000
    """
    if text is None or not text:
        return default
    bare = text.removeprefix("-")
    if bare.isascii() and bare.isdigit() and len(bare) <= 19:
        return max(-T_MAX_NS, min(int(text), T_MAX_NS))
    try:
        # A plus sign in a query string arrives as a space.
        whole, _, rest = text.upper().replace(" ", "+").partition(".")
        digits = len(rest) - len(rest.lstrip("0123456789"))
        moment = datetime.fromisoformat(whole + rest[digits:])
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        decimals = int(rest[:digits][:9].ljust(9, "0")) if digits else 0
        whole_s = round(moment.timestamp())
    except (ValueError, OverflowError) as error:
        raise BadQueryError(
            f"{name}: expected RFC 3339 (2026-01-31T09:00:00Z) or nanoseconds, got {text[:40]!r}"
        ) from error
    return max(-T_MAX_NS, min(whole_s * 1_000_000_000 + decimals, T_MAX_NS))


def _table_page(
    results: ResultStore, table: str, query: Mapping[str, str], between: tuple[int, int]
) -> Page:
    limit = _integer(query.get("limit"), "limit", LIMIT_DEFAULT, 1, LIMIT_MAX)
    time = TIME_COLUMN.get(table, "t_ns")
    order = (time, *(key for key in KEYS[table] if key != time))
    after = _read_after(query.get("after"), len(order))
    columns = ", ".join(order)
    where, parameters = f"{time} >= ? AND {time} < ?", list[Any](between)
    if after is not None:
        where += f" AND ({columns}) > ({', '.join('?' * len(order))})"
        parameters += after
    rows = results.query(
        f"SELECT {', '.join(COLUMNS[table])} FROM {table} "  # noqa: S608 (names of this file only)
        f"WHERE {where} ORDER BY {columns} LIMIT ?",
        [*parameters, limit + 1],
    )
    return _page(table, rows, limit, order, query)


def _transitions_page(
    results: ResultStore, query: Mapping[str, str], between: tuple[int, int]
) -> Page:
    limit = _integer(query.get("limit"), "limit", LIMIT_DEFAULT, 1, LIMIT_MAX)
    order = ("layer", "from_zone", "to_zone")
    after = _read_after(query.get("after"), len(order))
    begin = [] if after is None else [str(part) for part in after]
    rows: list[tuple[Any, ...]] = [
        astuple(row)
        for row in transitions_between(results, *between)  # in this very order
        if [row.layer, row.from_zone, row.to_zone] > begin
    ]
    return _page("transitions", rows[: limit + 1], limit, order, query)


def _page(
    table: str,
    rows: list[tuple[Any, ...]],
    limit: int,
    order: Sequence[str],
    query: Mapping[str, str],
) -> Page:
    """Return the first rows as a page; one more than `limit` means that there is a next."""
    next_query = None
    if len(rows) > limit:
        rows = rows[:limit]
        at = [COLUMNS[table].index(name) for name in order]
        kept = {k: v for k, v in query.items() if k in ("from", "to", "limit", "format", "table")}
        next_query = urlencode({**kept, "after": _write_after([rows[-1][i] for i in at])})
    return Page(columns=COLUMNS[table], rows=rows, next_query=next_query, extra={})


def _heatmap(
    results: ResultStore, query: Mapping[str, str], between: tuple[int, int], raster: Raster
) -> Page:
    """Return ticks per cell: of the heat's quarters of an hour, or of live positions."""
    cell_m = _number(query.get("cell_m"), "cell_m", 0.5, 0.1, 10.0)
    floor = query.get("floor") or raster.floor
    from_ns, to_ns = between
    newest_heat, newest_live = (
        results.query(f"SELECT max(t_ns) FROM {table}")[0][0] or 0  # noqa: S608
        for table in ("heat", "trail")
    )
    heat_from_ns = from_ns if query.get("from") else max(newest_heat, newest_live) - HOUR_NS
    heat = results.query(
        "SELECT x_m, y_m, person_s, t_ns FROM heat WHERE floor = ? AND t_ns > ? AND t_ns <= ?",
        (floor, heat_from_ns, to_ns),
    )
    if heat:
        # Cells finer than the store's own would only have holes.
        cell_m = max(cell_m, raster.cell_m)
        origin = (0.0, 0.0)
        if cell_m == raster.cell_m:
            origin = ((heat[0][0] - cell_m / 2) % cell_m, (heat[0][1] - cell_m / 2) % cell_m)
        ticks = [(x_m, y_m, person_s / raster.tick_s) for x_m, y_m, person_s, _ in heat]
        ends = [row[3] for row in heat]
        extra = {"from_ns": min(ends) - QUARTER_NS, "to_ns": max(ends)}
    else:
        origin = (0.0, 0.0)
        from_ns = max(from_ns, newest_live - HOUR_NS)
        ticks = results.query(
            "SELECT x_m, y_m, 1 FROM trail WHERE floor = ? AND t_ns >= ? AND t_ns < ?",
            (floor, from_ns, to_ns),
        )
        extra = {"from_ns": from_ns, "to_ns": min(to_ns, newest_live)}
    rows = _binned(ticks, cell_m, origin)
    return Page(
        columns=("x_m", "y_m", "ticks"),
        rows=rows,
        next_query=None,
        extra={"cell_m": cell_m, **extra},
    )


def _binned(
    ticks: Sequence[tuple[Any, ...]], cell_m: float, origin: tuple[float, float]
) -> list[tuple[Any, ...]]:
    """Add up (x_m, y_m, ticks) by squares; return their middles."""
    counts: dict[tuple[int, int], float] = {}
    for x_m, y_m, count in ticks:
        cell = (
            math.floor((x_m - origin[0]) / cell_m),
            math.floor((y_m - origin[1]) / cell_m),
        )
        counts[cell] = counts.get(cell, 0) + count
    return [
        (
            round((i + 0.5) * cell_m + origin[0], 3),
            round((j + 0.5) * cell_m + origin[1], 3),
            round(count, 1) if isinstance(count, float) else count,
        )
        for (i, j), count in sorted(counts.items())
    ]


def _integer(text: str | None, name: str, default: int, low: int, high: int) -> int:
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 9 or not low <= int(text) <= high:
        raise BadQueryError(f"{name}: expected {low} to {high}, got {text[:20]!r}")
    return int(text)


def _number(text: str | None, name: str, default: float, low: float, high: float) -> float:
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise BadQueryError(f"{name}: expected {low} to {high}, got {text[:20]!r}")
    return value


def _write_after(key: Sequence[Any]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode().rstrip("=")


def _read_after(text: str | None, length: int) -> list[Any] | None:
    if not text:
        return None
    try:
        key = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except ValueError:
        key = None
    if not isinstance(key, list) or len(key) != length:
        raise BadQueryError("after: expected what a 'next' address held")
    if not all(
        isinstance(part, str) or (type(part) is int and abs(part) <= T_MAX_NS) for part in key
    ):
        raise BadQueryError("after: expected what a 'next' address held")
    return key
