"""The arrays of a checkpoint: numbers beside the objects, sharing kept.

Rules of the file: every array is written once, in the order of its memory, and comes
back with the same order, because sums depend on it. Arrays that look at the same memory
do so again afterwards; slices that overlap with no other one are written alone, so that
a few waiting rows do not keep the whole portion that brought them.
"""

import itertools
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_DTYPE = re.compile(r"[<>|][a-zA-Z]\d+")
_KINDS = "biuf"
"""Kinds of dtype that are plain numbers."""
Row = tuple[Any, ...]


class ArrayWriter:
    """Collects arrays.

    Parameters
    ----------
    path_of : returns the path of an array that a fresh engine has, else None
    """

    def __init__(self, path_of: Callable[[object], Any]) -> None:
        self._path_of = path_of
        self._index: dict[int, int] = {}
        self._arrays: list[Array] = []

    def add(self, array: Array) -> tuple[str, Any]:
        """Return what stands for an array in the stream.

        Parameters
        ----------
        array : of plain numbers

        Raises
        ------
        TypeError
            It holds something else.
        """
        path = self._path_of(array)
        if path is not None:
            return "fixed", path
        if type(array) is not np.ndarray or array.dtype.kind not in _KINDS:
            raise TypeError(f"an engine's state cannot hold an array of {array.dtype}")
        if id(array) not in self._index:
            self._index[id(array)] = len(self._arrays)
            self._arrays.append(array)
        return "array", self._index[id(array)]

    def finish(self) -> tuple[list[Row], bytes]:
        """Return the table of the arrays and their numbers, one after another."""
        owners: dict[int, list[int]] = {}
        for at, array in enumerate(self._arrays):
            owners.setdefault(id(_owner(array)), []).append(at)
        table: list[Row] = [()] * len(self._arrays)
        parts: list[bytes] = []
        end = 0

        def write(array: Array) -> Row:
            nonlocal end
            order = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
            parts.append(np.ascontiguousarray(array.transpose(order)).tobytes())
            start, end = end, end + len(parts[-1])
            return "own", array.dtype.str, array.shape, tuple(order), start

        for members in list(owners.values()):
            arrays = [self._arrays[at] for at in members]
            owner = _owner(arrays[0])
            path = self._path_of(owner)
            is_alone = path is None and not _overlap(arrays)
            if is_alone or not (owner.flags.c_contiguous or owner.flags.f_contiguous):
                for at, array in zip(members, arrays, strict=True):
                    table[at] = write(array)
                continue
            where: Any = path
            if path is None:
                table.append(write(owner))
                where = len(table) - 1
            for at, array in zip(members, arrays, strict=True):
                offset = _address(array) - _address(owner)
                table[at] = ("view", array.dtype.str, array.shape, array.strides, where, offset)
        return table, b"".join(parts)


class ArrayReader:
    """Makes the arrays again.

    Parameters
    ----------
    table, numbers : what `ArrayWriter.finish` returned
    at : returns an array that a fresh engine has, by its path
    """

    def __init__(self, table: list[Row], numbers: bytes, at: Callable[[Any], Any]) -> None:
        self._table, self._numbers, self._at = table, numbers, at
        self._made: dict[int, Array] = {}

    def get(self, at: int) -> Array:
        """Return an array by its place in the table; the same one each time."""
        if at not in self._made:
            self._made[at] = self._make(at)
        return self._made[at]

    def scalar(self, dtype: str, data: bytes) -> Any:  # noqa: ANN401 (any number of numpy)
        """Return a number of numpy."""
        return np.frombuffer(data, _dtype(dtype), 1)[0]

    def _make(self, at: int) -> Array:
        kind, name, shape, *rest = self._table[at]
        dtype = _dtype(name)
        if kind == "own":
            order, start = rest
            count = math.prod(shape)
            flat = np.frombuffer(self._numbers, dtype, count, start).copy() if count else ()
            flat = np.asarray(flat, dtype)
            inverse = sorted(range(len(order)), key=order.__getitem__)
            return flat.reshape([shape[axis] for axis in order]).transpose(inverse)
        strides, where, offset = rest
        owner = self.get(where) if isinstance(where, int) else self._at(where)
        memory = owner.ravel("K").view(np.uint8)
        return np.ndarray(shape, dtype, buffer=memory, offset=offset, strides=strides)


def _dtype(name: str) -> np.dtype[Any]:
    # As `dtype.str` writes it: numpy knows further names, and warns of some.
    dtype = np.dtype(name) if _DTYPE.fullmatch(name) else None
    if dtype is None or dtype.kind not in _KINDS:
        raise ValueError("a dtype that no checkpoint has")
    return dtype


def _owner(array: Array) -> Array:
    """Return the array that owns the memory an array looks at."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


def _overlap(arrays: list[Array]) -> bool:
    """Tell whether any two arrays of one owner may share memory."""
    if len(arrays) == 1:
        return False
    spans = []
    for array in arrays:
        if array.size:
            steps = [(n - 1) * s for n, s in zip(array.shape, array.strides, strict=True)]
            low = _address(array) + sum(step for step in steps if step < 0)
            high = low + sum(abs(step) for step in steps) + array.itemsize
            spans.append((low, high))
    spans.sort()
    return any(later[0] < earlier[1] for earlier, later in itertools.pairwise(spans))
