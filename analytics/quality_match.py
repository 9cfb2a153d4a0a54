"""Pairing what was found with what was true: overlaps, one-to-one matches, edit distance.

Rules of the file: intervals and points come as columns with an integer `group`
(only equal groups can pair); nothing loops over rows; results do not depend on
how rows were ordered by the caller, as ties go to the earlier pair. Greedy
matching in order of merit is the association rule of the event scorers of
sound event detection (Mesaros et al., "Metrics for polyphonic sound event
detection", 2016, section 3.2), made deterministic.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Int = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Intervals:
    """Stretches of time, one element per stretch.

    Attributes
    ----------
    group : int64, who or what may pair (any coding, not negative)
    start_ns, end_ns : int64 [ns]
    """

    group: Int
    start_ns: Int
    end_ns: Int

    def __len__(self) -> int:
        """Return the number of stretches."""
        return len(self.group)

    def take(self, at: NDArray[Any]) -> "Intervals":
        """Return the stretches at some indices, or where a mask holds."""
        return Intervals(group=self.group[at], start_ns=self.start_ns[at], end_ns=self.end_ns[at])


def overlapping_pairs(a: Intervals, b: Intervals) -> tuple[Int, Int]:
    """Return every pair of stretches of one group that share time.

    Parameters
    ----------
    a
        any stretches
    b
        stretches sorted by group, then start; those of one group do not overlap each other

    Returns
    -------
    at_a, at_b : shape (pairs,), int64, indices; sharing means a.start < b.end and b.start < a.end

    Examples
    --------
    >>> one = Intervals(group=np.array([0]), start_ns=np.array([0]), end_ns=np.array([9]))
    >>> two = Intervals(group=np.array([0, 0]), start_ns=np.array([3, 9]), end_ns=np.array([5, 12]))
    >>> [side.tolist() for side in overlapping_pairs(one, two)]
    [[0], [0]]
    """
    # Times become ranks, so that group and time fit one sortable integer at any span.
    times = np.unique(np.concatenate([a.start_ns, a.end_ns, b.start_ns, b.end_ns]))
    size = len(times) + 1

    def key(group: Int, t_ns: Int) -> Int:
        return group * size + np.searchsorted(times, t_ns)

    low = np.searchsorted(key(b.group, b.end_ns), key(a.group, a.start_ns), side="right")
    high = np.searchsorted(key(b.group, b.start_ns), key(a.group, a.end_ns), side="left")
    return expand(low, high)


def expand(low: Int, high: Int) -> tuple[Int, Int]:
    """Return (row, value) for every value of ``range(low[row], high[row])``, rows in order.

    Parameters
    ----------
    low
        shape (n,), int64; high below low is an empty range
    high
        as low

    Returns
    -------
    row, value : shape (sum of lengths,), int64

    Examples
    --------
    >>> [side.tolist() for side in expand(np.array([5, 7]), np.array([7, 7]))]
    [[0, 0], [5, 6]]
    """
    count = np.maximum(high - low, 0)
    row = np.repeat(np.arange(len(count)), count)
    first = np.cumsum(count) - count
    return row, np.arange(len(row)) - first[row] + low[row]


def match_one_to_one(at_a: Int, at_b: Int, merit: NDArray[Any]) -> tuple[Int, Int]:
    """Choose pairs, best merit first, so that nobody is chosen twice.

    Parameters
    ----------
    at_a
        shape (pairs,), int64, who could pair with whom
    at_b
        as at_a
    merit
        shape (pairs,), larger is better; equal merit goes to the lower (a, b)

    Returns
    -------
    at_a, at_b : shape (matches,), int64, the chosen pairs, by a

    Notes
    -----
    Pairs that are the best of both their sides are what the greedy choice takes in
    any case; taking all of them at once and repeating gives the same answer in few
    rounds (locally dominant pairs: Preis 1999).

    Examples
    --------
    >>> chosen = match_one_to_one(np.array([0, 0, 1]), np.array([0, 1, 0]), np.array([5, 1, 9]))
    >>> [side.tolist() for side in chosen]
    [[0, 1], [1, 0]]
    """
    order = np.lexsort((at_b, at_a, -merit))
    a, b = at_a[order], at_b[order]
    chosen_a: list[Int] = []
    chosen_b: list[Int] = []
    while len(a):
        best = _is_first(a) & _is_first(b)
        chosen_a.append(a[best])
        chosen_b.append(b[best])
        free = ~(np.isin(a, a[best]) | np.isin(b, b[best]))
        a, b = a[free], b[free]
    if not chosen_a:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    left, right = np.concatenate(chosen_a), np.concatenate(chosen_b)
    by_a = np.argsort(left)
    return left[by_a], right[by_a]


def edit_distances(a: list[list[int]], b: list[list[int]]) -> Int:
    """Return the edit distance of each pair of sequences.

    Parameters
    ----------
    a
        equally many sequences of codes, not negative
    b
        as a

    Returns
    -------
    distance : shape (len(a),), int64: fewest insertions, deletions and replacements

    Notes
    -----
    Levenshtein 1966 by the recurrence of Wagner and Fischer 1974, one row of the
    table at a time for all pairs together: insertions along a row are a running
    minimum of ``row - column``.

    Examples
    --------
    >>> edit_distances([[1, 2, 3], []], [[1, 3], [7]]).tolist()
    [1, 1]
    """
    left, left_length = _padded(a, -1)
    right, right_length = _padded(b, -2)
    column = np.arange(right.shape[1] + 1)
    row = np.broadcast_to(column, (len(a), len(column))).copy()
    done = row.copy()
    for i in range(left.shape[1]):
        step = np.minimum(row[:, :-1] + (left[:, i : i + 1] != right), row[:, 1:] + 1)
        row = np.concatenate([np.full((len(a), 1), i + 1), step], axis=1)
        row = np.minimum.accumulate(row - column, axis=1) + column
        done = np.where((left_length == i + 1)[:, None], row, done)
    return np.take_along_axis(done, right_length[:, None], axis=1)[:, 0].astype(np.int64)


def _is_first(values: Int) -> NDArray[np.bool_]:
    first = np.zeros(len(values), np.bool_)
    first[np.unique(values, return_index=True)[1]] = True
    return first


def _padded(sequences: list[list[int]], fill: int) -> tuple[Int, Int]:
    length = np.array([len(sequence) for sequence in sequences], np.int64)
    table = np.full((len(sequences), int(length.max(initial=0))), fill, np.int64)
    filled = np.arange(table.shape[1]) < length[:, None]
    table[filled] = np.array([code for sequence in sequences for code in sequence], np.int64)
    return table, length
