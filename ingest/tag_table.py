"""Tags as small integers: a bounded hash table over fixed-width bytes, in numpy.

Rules of the file: an id is stable while its tag is known; ids count from 0 and are
given in the order of first appearance, so equal input gives equal ids; a forgotten id
is reused as late as possible. When the table is full a new tag gets -1 and is counted
in `refused`: nobody who is being followed is thrown out for a newcomer, and the caller
makes room with `expire`. Open addressing with linear probing (Knuth, The Art of
Computer Programming 3, 6.4, algorithm L), one numpy pass per probe length.

Texts go through a dictionary first, which is only a cache of the table; packed pseudonyms
go straight to it. A pseudonym's hash is that of its two words, so both ways meet.
"""

from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.identifiers import TAG_LENGTH_MAX
from ingest.packed_tags import PackedTags, unpacked

_WIDTH = f"S{TAG_LENGTH_MAX}"
_WORDS = TAG_LENGTH_MAX // 8
# A key as a pseudonym has it: what follows the two words is empty in a pseudonym.
_PARTS = np.dtype([("prefix", "<u2"), ("a", "<u8"), ("b", "<u8"), ("rest", "S46")])
_PREFIX = int.from_bytes(b"p_", "little")
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
        # The words of the known pseudonyms; 0, which no pseudonym has, for other tags.
        self._a: NDArray[np.uint64] = np.zeros(capacity, np.uint64)
        self._b: NDArray[np.uint64] = np.zeros(capacity, np.uint64)
        self._seen_ns: NDArray[np.int64] = np.zeros(capacity, np.int64)
        self._known: NDArray[np.bool_] = np.zeros(capacity, np.bool_)
        self._free: NDArray[np.int32] = np.arange(capacity, dtype=np.int32)
        self._cache: dict[str, int] = {}

    def __len__(self) -> int:
        """Return how many tags are known."""
        return self.capacity - len(self._free)

    @property
    def room(self) -> int:
        """How many more tags there is room for."""
        return len(self._free)

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

    def packed_ids(self, tags: PackedTags, t_ns: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the id of each pseudonym, as `ids` would for one after the other.

        Parameters
        ----------
        tags : checked
        t_ns : shape (len(tags),), int64 [ns] when each was seen

        Returns
        -------
        ids : shape (len(tags),), int32; -1 as for `ids`
        """
        hashes = _hash_words(tags.a, tags.b)
        ids = self._find_packed(tags, hashes)
        new = np.flatnonzero(ids < 0)
        if len(new):
            keys = unpacked(tags.a[new], tags.b[new])
            ids[new] = self._ids(keys, 0)
        is_seen = ids >= 0
        if is_seen.all():
            np.maximum.at(self._seen_ns, ids, t_ns)
        else:
            np.maximum.at(self._seen_ns, ids[is_seen], t_ns[is_seen])
        return ids

    def known(self, tags: Sequence[str]) -> NDArray[np.int32]:
        """Return the ids of tags without making any; -1 = not known.

        Parameters
        ----------
        tags : as for `ids`
        """
        keys = np.ascontiguousarray(_as_bytes(list(tags)), dtype=_WIDTH)
        return self._find(keys, _hash(keys))

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

    def state(self) -> dict[str, Any]:
        """Return everything as plain data: the tags that are known, and the ids that are free."""
        known = np.flatnonzero(self._known).astype(np.int32)
        return {
            "capacity": self.capacity,
            "refused": self.refused,
            "ids": known.tobytes(),
            "keys": self._keys[known].tobytes(),
            "seen_ns": self._seen_ns[known].tobytes(),
            "free": self._free.tobytes(),
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> "TagTable":
        """Return a table that goes on where another was.

        Parameters
        ----------
        state : what `state` returned

        Raises
        ------
        ValueError
            Its parts do not fit together.
        """
        table = cls(int(state["capacity"]))
        ids = np.frombuffer(state["ids"], np.int32)
        free = np.frombuffer(state["free"], np.int32)
        everything = np.sort(np.concatenate([ids, free]))
        if not np.array_equal(everything, np.arange(table.capacity)):
            raise ValueError("the ids of a tag table's state are not whole")
        table.refused = int(state["refused"])
        table._keys[ids] = np.frombuffer(state["keys"], _WIDTH)
        table._seen_ns[ids] = np.frombuffer(state["seen_ns"], np.int64)
        table._hashes[ids] = _hash(table._keys[ids])
        table._note_words(ids)
        table._known[ids] = True
        table._free = free.copy()
        table._place(ids.copy())
        return table

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
            self._note_words(given)
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

    def _find_packed(self, tags: PackedTags, hashes: NDArray[np.uint64]) -> NDArray[np.int32]:
        """Return ids as `_find` does; nearly all are found at the first place they look."""
        at = (hashes & self._mask).astype(np.int64)
        ids = self._slots[at]
        # Slot -1 reads the last tag's words: whose words are equal is not in this slot.
        right = (self._a[ids] == tags.a) & (self._b[ids] == tags.b) & (ids >= 0)
        if right.all():
            return ids
        rest = np.flatnonzero(~right)
        ids[rest] = _EMPTY
        rest = rest[self._slots[at[rest]] >= 0]
        if len(rest):
            keys = np.ascontiguousarray(unpacked(tags.a[rest], tags.b[rest]), dtype=_WIDTH)
            ids[rest] = self._find(keys, hashes[rest])
        return ids

    def _note_words(self, ids: NDArray[np.int32]) -> None:
        parts = self._keys[ids].view(_PARTS)
        is_packed = (parts["prefix"] == _PREFIX) & (parts["rest"] == b"")
        self._a[ids] = np.where(is_packed, parts["a"], 0)
        self._b[ids] = np.where(is_packed, parts["b"], 0)

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
    parts = keys.view(_PARTS)
    hashes = _hash_words(parts["a"].astype(np.uint64), parts["b"].astype(np.uint64))
    other = np.flatnonzero((parts["prefix"] != _PREFIX) | (parts["rest"] != b""))
    words = keys[other].view(np.uint64).reshape(len(other), _WORDS)
    for word in range(_WORDS):
        hashes[other] = (hashes[other] ^ words[:, word]) * _MIX
        hashes[other] ^= hashes[other] >> _SHIFT
    return hashes


def _hash_words(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> NDArray[np.uint64]:
    hashes: NDArray[np.uint64] = (a ^ _SEED) * _MIX
    hashes ^= hashes >> _SHIFT
    hashes ^= b
    hashes *= _MIX
    hashes ^= hashes >> _SHIFT
    return hashes


def _equal(a: NDArray[np.bytes_], b: NDArray[np.bytes_]) -> NDArray[np.bool_]:
    same: NDArray[np.bool_] = a.view(np.uint64) == b.view(np.uint64)
    return np.asarray(same.reshape(len(a), _WORDS).all(axis=1))
