"""Tags as small integers: a bounded hash table over fixed-width bytes, in numpy.

Rules of the file: an id is stable while its tag is known; ids count from 0 and are
given in the order of first appearance, so equal input gives equal ids; a forgotten id
is reused as late as possible. When the table is full a new tag gets -1 and is counted
in `refused`: nobody who is being followed is thrown out for a newcomer, and the caller
makes room with `expire`. Open addressing with linear probing (Knuth, The Art of
Computer Programming 3, 6.4, algorithm L), one numpy pass per probe length.

Texts go through a dictionary first, which is only a cache of the table. Measured with
10,000 known tags on one core: 44 ns a tag for texts in the cache, 119 ns for an array
of fixed-width bytes, 395 ns for texts that have to become bytes and enter the cache.
"""

from collections.abc import Sequence
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from ingest.identifiers import TAG_LENGTH_MAX

_WIDTH = f"S{TAG_LENGTH_MAX}"
_WORDS = TAG_LENGTH_MAX // 8
_EMPTY = np.int32(-1)
# Mixing constants of splitmix64 (Steele, Lea, Flood 2014).
_SEED = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xBF58476D1CE4E5B9)
_SHIFT = np.uint64(29)


class TagTable:
    """Maps tags (raw or pseudonyms, ASCII, at most 64 characters) to int32 ids and back.

    Parameters
    ----------
    capacity : how many tags may be known at once
    """

    def __init__(self, capacity: int = 131072) -> None:
        if capacity < 1:
            raise ValueError(f"expected a capacity of 1 or more, got {capacity}")
        self.capacity = capacity
        self.refused = 0
        size = 1 << max(3, (2 * capacity - 1).bit_length())
        self._mask = np.uint64(size - 1)
        self._slots: NDArray[np.int32] = np.full(size, _EMPTY)
        self._keys: NDArray[np.bytes_] = np.zeros(capacity, _WIDTH)
        self._hashes: NDArray[np.uint64] = np.zeros(capacity, np.uint64)
        self._seen_ns: NDArray[np.int64] = np.zeros(capacity, np.int64)
        self._known: NDArray[np.bool_] = np.zeros(capacity, np.bool_)
        self._free: NDArray[np.int32] = np.arange(capacity, dtype=np.int32)
        self._cache: dict[str, int] = {}

    def __len__(self) -> int:
        """Return how many tags are known."""
        return self.capacity - len(self._free)

    def ids(self, values: Sequence[str] | NDArray[np.bytes_], t_ns: int) -> NDArray[np.int32]:
        """Return the id of each tag, giving new ids to new tags.

        Parameters
        ----------
        values : tags that passed the grammar; as texts, or as an array of dtype S64
        t_ns : [ns] when they were seen, for `expire`

        Returns
        -------
        ids : shape (len(values),), int32; -1 = new and the table is full (counted per
            distinct tag and call in `refused`)

        Raises
        ------
        ValueError
            A tag is longer than 64 characters or not ASCII.
        """
        if isinstance(values, np.ndarray):
            ids = self._ids(values, t_ns)
        else:
            ids = np.fromiter(map(self._cache.get, values, repeat(-1)), np.int32, len(values))
            missing = np.flatnonzero(ids < 0).tolist()
            if missing:
                texts = [values[at] for at in missing]
                ids[missing] = found = self._ids(_as_bytes(texts), t_ns)
                known = zip(texts, found.tolist(), strict=True)
                self._cache.update((text, tag) for text, tag in known if tag >= 0)
        seen = ids[ids >= 0]
        self._seen_ns[seen] = np.maximum(self._seen_ns[seen], t_ns)
        return ids

    def names(self, ids: NDArray[np.int32]) -> list[str]:
        """Return the tags of ids.

        Parameters
        ----------
        ids : shape (n,), int32

        Returns
        -------
        tags : as they were given

        Raises
        ------
        ValueError
            An id is not known (never given, or forgotten).
        """
        ids = np.asarray(ids, dtype=np.int32)
        if len(ids) and (
            int(ids.min()) < 0 or int(ids.max()) >= self.capacity or not self._known[ids].all()
        ):
            raise ValueError("an id that the tag table does not know")
        return [name.decode() for name in self._keys[ids].tolist()]

    def expire(self, before_ns: int, keep: NDArray[np.int32]) -> int:
        """Forget the tags that were last seen before a moment.

        Parameters
        ----------
        before_ns : [ns] tags seen at or after it stay
        keep : int32, ids that stay in any case (those the engine follows)

        Returns
        -------
        forgotten : how many
        """
        old = self._known & (self._seen_ns < before_ns)
        old[np.asarray(keep, dtype=np.int32)] = False
        gone = np.flatnonzero(old).astype(np.int32)
        if len(gone):
            self._known[gone] = False
            self._seen_ns[gone] = 0
            self._free = np.concatenate([self._free, gone])
            self._cache.clear()
            self._slots.fill(_EMPTY)
            self._place(np.flatnonzero(self._known).astype(np.int32))
        return len(gone)

    def _ids(self, keys: NDArray[np.bytes_], t_ns: int) -> NDArray[np.int32]:
        keys = np.ascontiguousarray(keys, dtype=_WIDTH)
        hashes = _hash(keys)
        ids = self._find(keys, hashes)
        new = np.flatnonzero(ids < 0)
        if len(new):
            distinct, first = np.unique(keys[new], return_index=True)
            first = new[np.sort(first)]
            room = min(len(first), len(self._free))
            self.refused += len(distinct) - room
            given, self._free = self._free[:room], self._free[room:]
            self._keys[given] = keys[first[:room]]
            self._hashes[given] = hashes[first[:room]]
            self._seen_ns[given] = t_ns
            self._known[given] = True
            self._place(given)
            ids[new] = self._find(keys[new], hashes[new])
        return ids

    def _find(self, keys: NDArray[np.bytes_], hashes: NDArray[np.uint64]) -> NDArray[np.int32]:
        ids = np.full(len(keys), _EMPTY)
        at = hashes & self._mask
        open_ = np.arange(len(keys))
        while len(open_):
            held = self._slots[at[open_]]
            there = held >= 0
            open_, held = open_[there], held[there]
            same = self._hashes[held] == hashes[open_]
            same[same] = _equal(self._keys[held[same]], keys[open_[same]])
            ids[open_[same]] = held[same]
            open_ = open_[~same]
            at[open_] = (at[open_] + np.uint64(1)) & self._mask
        return ids

    def _place(self, ids: NDArray[np.int32]) -> None:
        at = self._hashes[ids] & self._mask
        while len(ids):
            empty = self._slots[at] < 0
            self._slots[at[empty]] = ids[empty]
            lost = self._slots[at] != ids
            ids, at = ids[lost], (at[lost] + np.uint64(1)) & self._mask


def _as_bytes(texts: list[str]) -> NDArray[np.bytes_]:
    try:
        keys = np.array(texts, dtype=np.bytes_)
    except UnicodeEncodeError:
        raise ValueError("a tag with a character outside ASCII") from None
    if keys.dtype.itemsize > TAG_LENGTH_MAX:
        raise ValueError(f"a tag longer than {TAG_LENGTH_MAX} characters")
    return keys


def _hash(keys: NDArray[np.bytes_]) -> NDArray[np.uint64]:
    words = keys.view(np.uint64).reshape(len(keys), _WORDS)
    hashes = np.full(len(keys), _SEED)
    for word in range(_WORDS):
        hashes = (hashes ^ words[:, word]) * _MIX
        hashes ^= hashes >> _SHIFT
    return hashes


def _equal(a: NDArray[np.bytes_], b: NDArray[np.bytes_]) -> NDArray[np.bool_]:
    same: NDArray[np.bool_] = a.view(np.uint64) == b.view(np.uint64)
    return np.asarray(same.reshape(len(a), _WORDS).all(axis=1))
