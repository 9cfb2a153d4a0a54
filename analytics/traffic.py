"""Ordinary traffic as pieces of tracks: levels per tag and tick, nobody's place known.

Rules of the file: what comes out does not depend on the order of the readings or on
repetitions; a track is a tag without a silence of more than `SILENCE_S`, cut into
pieces of at most `PIECE_TICKS` so that a pass over it has a bounded size.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.levels import TickLevels, rssi_tenths

SILENCE_S = 10.0
"""After this long the tag may be anywhere: a new track."""
PIECE_TICKS = 300
PIECE_TICKS_LEAST = 5
"""Shorter pieces say too little about the tag's power."""
_ROWS_AT_ONCE = 4096
_FLOATS_MOST = 24_000_000
"""Beliefs kept at one time, 96 MB; two such tables are needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Levels of all tags in all ticks in which they were heard, piece by piece.

    Attributes
    ----------
    level_db : shape (rows, receivers), float32 [dB above -75 dBm], NaN where unheard
    tick : shape (rows,), int64, rising within a piece
    start : shape (pieces + 1,), int64, the first row of each piece, and the number of rows
    tag : shape (pieces,), int32
    readings : shape (receivers,), int64, distinct readings
    """

    level_db: NDArray[np.float32]
    tick: NDArray[np.int64]
    start: NDArray[np.int64]
    tag: NDArray[np.int32]
    readings: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of pieces."""
        return len(self.tag)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Ticks that each piece lasts, silent ones included."""
        spans: NDArray[np.int64] = self.tick[self.start[1:] - 1] - self.tick[self.start[:-1]] + 1
        return spans

    def batches(self, cells: int, *, lanes: int = 64) -> Iterator[NDArray[np.int64]]:
        """Yield the pieces in groups of similar length, which fit into memory.

        Parameters
        ----------
        cells : int, of the store
        lanes : int, the most pieces of one group

        Yields
        ------
        group : indices of pieces, longest first
        """
        lengths = self.lengths
        order = np.lexsort((np.arange(len(self)), -lengths))
        at = 0
        while at < len(order):
            room = int(_FLOATS_MOST // (cells * lengths[order[at]]))
            width = min(lanes, max(1, room))
            yield order[at : at + width]
            at += width

    def dense(self, pieces: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Lay some pieces side by side.

        Parameters
        ----------
        pieces : indices, the longest first

        Returns
        -------
        level_db : shape (ticks, receivers, lanes), float32, 0 where unheard
        heard : shape (ticks, receivers, lanes), float32, 1 where heard, else 0; a piece that
            has ended is not heard any more
        """
        lengths = self.lengths[pieces]
        shape = (int(lengths.max()), self.level_db.shape[1], len(pieces))
        level, heard = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        for lane, piece in enumerate(pieces.tolist()):
            rows = slice(int(self.start[piece]), int(self.start[piece + 1]))
            at = self.tick[rows] - self.tick[rows.start]
            values = self.level_db[rows]
            known = ~np.isnan(values)
            level[at, :, lane] = np.where(known, values, 0)
            heard[at, :, lane] = known
        return level, heard


def reduce_traffic(
    t_ns: NDArray[np.int64],
    receiver: NDArray[np.int16],
    tag: NDArray[np.int32],
    rssi_dbm: NDArray[np.float32],
    *,
    receivers: int,
    tick_ns: int,
) -> Traffic:
    """Average readings per tag and tick, and cut them into pieces of tracks.

    Parameters
    ----------
    t_ns, receiver, tag, rssi_dbm : columns of equal length; identical rows count once
    receivers : int, how many the store has
    tick_ns : int [ns], length of a tick
    """
    tenths = rssi_tenths(rssi_dbm)
    order = np.lexsort((tenths, receiver, t_ns, tag))
    if len(order):
        new = np.zeros(len(order), np.bool_)
        new[0] = True
        for column in (t_ns, receiver, tag, tenths):
            new[1:] |= np.diff(column[order]) != 0
        order = order[new]
    t_ns, receiver, tag, tenths = t_ns[order], receiver[order], tag[order], tenths[order]
    tick = t_ns // tick_ns
    new_row = np.ones(len(tick), np.bool_)
    new_row[1:] = (np.diff(tick) != 0) | (np.diff(tag) != 0)
    row = np.cumsum(new_row) - 1
    row_tick, row_tag = tick[new_row], tag[new_row]
    level = _levels(row, receiver, tenths, rows=len(row_tick), receivers=receivers)
    start = _piece_starts(row_tick, row_tag, tick_ns)
    counts = np.bincount(receiver, minlength=receivers).astype(np.int64)
    whole = Traffic(
        level_db=level,
        tick=row_tick,
        start=start,
        tag=row_tag[start[:-1]],
        readings=counts,
    )
    return chosen(whole, np.diff(start) >= PIECE_TICKS_LEAST)


def thinned(traffic: Traffic, most: int) -> Traffic:
    """Return evenly chosen pieces with about so many ticks; all of them if there are fewer.

    Parameters
    ----------
    traffic : all of it
    most : int, ticks
    """
    lengths = np.diff(traffic.start)
    total = int(lengths.sum())
    if total <= most:
        return traffic
    # Every piece whose end passes another multiple of the step; spread by time, not by tag.
    order = np.lexsort((traffic.tag, traffic.tick[traffic.start[:-1]]))
    passed = np.cumsum(lengths[order]) * most // total
    mean = max(total / len(traffic), 1.0)
    slots = (passed / mean).astype(np.int64)
    wanted = np.zeros(len(traffic), np.bool_)
    wanted[order[np.flatnonzero(np.diff(slots, prepend=-1) > 0)]] = True
    return chosen(traffic, wanted)


def split_by_time(traffic: Traffic, share: float) -> tuple[Traffic, Traffic]:
    """Cut traffic into what came first and what came last; pieces across the cut are cut.

    Parameters
    ----------
    traffic : all of it
    share : float [0-1], of the rows that go to the first part
    """
    if len(traffic.tick) == 0:
        return traffic, traffic
    border = np.sort(traffic.tick)[min(int(share * len(traffic.tick)), len(traffic.tick) - 1)]
    early = traffic.tick < border
    cut = np.flatnonzero(np.diff(early.astype(np.int8)) != 0) + 1
    start = np.unique(np.concatenate([traffic.start, cut]))
    tag = np.repeat(traffic.tag, np.diff(traffic.start))[start[:-1]]
    parts = Traffic(
        level_db=traffic.level_db,
        tick=traffic.tick,
        start=start,
        tag=tag,
        readings=traffic.readings,
    )
    enough = np.diff(start) >= PIECE_TICKS_LEAST
    first = early[start[:-1]]
    return chosen(parts, enough & first), chosen(parts, enough & ~first)


def chosen(traffic: Traffic, wanted: NDArray[np.bool_]) -> Traffic:
    """Return some of the pieces.

    Parameters
    ----------
    traffic : all of it
    wanted : shape (pieces,), bool
    """
    lengths = np.diff(traffic.start)
    rows = np.repeat(wanted, lengths)
    return Traffic(
        level_db=traffic.level_db[rows],
        tick=traffic.tick[rows],
        start=np.concatenate([[0], np.cumsum(lengths[wanted])]).astype(np.int64),
        tag=traffic.tag[wanted],
        readings=traffic.readings,
    )


def _piece_starts(
    tick: NDArray[np.int64], tag: NDArray[np.int32], tick_ns: int
) -> NDArray[np.int64]:
    """Return the first row of each piece and the number of rows."""
    if len(tick) == 0:
        return np.zeros(1, np.int64)
    new = np.ones(len(tick), np.bool_)
    new[1:] = (np.diff(tag) != 0) | (np.diff(tick) * tick_ns > SILENCE_S * 1e9)
    track = np.cumsum(new) - 1
    piece = (tick - tick[new][track]) // PIECE_TICKS
    new[1:] |= np.diff(piece) != 0
    return np.append(np.flatnonzero(new), len(tick)).astype(np.int64)


def _levels(
    row: NDArray[np.int64],
    receiver: NDArray[np.int16],
    tenths: NDArray[np.int16],
    *,
    rows: int,
    receivers: int,
) -> NDArray[np.float32]:
    level = np.full((rows, receivers), np.nan, np.float32)
    reducer = TickLevels(receivers)
    for first in range(0, rows, _ROWS_AT_ONCE):
        end = min(first + _ROWS_AT_ONCE, rows)
        at = slice(*np.searchsorted(row, [first, end]).tolist())
        reducer.reduce(receiver[at], row[at] - first, tenths[at], _ROWS_AT_ONCE)
        levels = reducer.levels()
        level[first:end] = np.where(levels.heard > 0, levels.level_db, np.nan).T[: end - first]
    return level
