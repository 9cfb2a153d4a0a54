"""Pseudonyms as pairs of 64-bit numbers: what a thousand texts cost, a column does not.

Rules of the file: the sixteen characters behind ``p_`` are two words of eight bytes, as
they stand in the batch; a text is made of them only when somebody asks for it. What is
packed was checked: `are_packed` is the grammar of `ingest.identifiers`.
"""

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from ingest.identifiers import PSEUDONYM_LENGTH

PREFIX = b"p_"
_RECORD = np.dtype([("prefix", "S2"), ("a", "<u8"), ("b", "<u8")])
assert _RECORD.itemsize == PSEUDONYM_LENGTH


class PackedTags(Sequence[str]):
    """Pseudonyms as a sequence of texts.

    Parameters
    ----------
    a, b : shape (n,), uint64: characters 3 to 10 and 11 to 18, little-endian
    """

    __slots__ = ("a", "b")

    def __init__(self, a: NDArray[np.uint64], b: NDArray[np.uint64]) -> None:
        self.a, self.b = a, b

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.a)

    @overload
    def __getitem__(self, at: int) -> str: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[str]: ...

    def __getitem__(self, at: int | slice) -> str | Sequence[str]:
        """Return one pseudonym, or some."""
        if isinstance(at, slice):
            return PackedTags(self.a[at], self.b[at])
        words: bytes = self.a[at].tobytes() + self.b[at].tobytes()
        return (PREFIX + words).decode("ascii")

    def __iter__(self) -> Iterator[str]:
        """Give the pseudonyms in order."""
        return iter([name.decode("ascii") for name in unpacked(self.a, self.b).tolist()])


def unpacked(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> NDArray[np.bytes_]:
    """Return pseudonyms as an array of bytes.

    Parameters
    ----------
    a, b : shape (n,), uint64

    Returns
    -------
    texts : shape (n,), dtype S18
    """
    records = np.empty(len(a), _RECORD)
    records["prefix"], records["a"], records["b"] = PREFIX, a, b
    return records.view(f"S{PSEUDONYM_LENGTH}")


def are_packed(words: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Tell which words hold eight characters of lower-case base32.

    Parameters
    ----------
    words : shape (n,), uint64, contiguous

    Examples
    --------
    >>> are_packed(np.frombuffer(b"abcdefghstuvwxyz234567aaa1234567", "<u8")).tolist()
    [True, True, True, False]
    """
    characters = words.view(np.uint8)
    letters = characters - np.uint8(ord("a")) < np.uint8(26)
    digits = characters - np.uint8(ord("2")) < np.uint8(6)
    # Eight booleans are a word of eight bytes of 0 or 1.
    right = (letters | digits).view(np.uint64)
    return np.asarray(right == np.uint64(0x0101010101010101))
