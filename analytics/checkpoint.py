"""Checkpoints: an engine's state as bytes, and an engine that goes on from them.

An engine that was saved between two calls and restored elsewhere gives the very rows
that it would have given. What follows from the store and the radio map (the store, its
cells, the filter's matrices) is not written: a fresh engine has it, and a digest tells
whether it is the same. Everything else is found by walking the engine's objects, so
that no attribute is named here.

Rules of the file: a checkpoint is a shortcut, the journal is the truth. One that was
made by other code, for another store or another radio map, or that is damaged, is
refused with `CheckpointError`, and the caller replays the journal instead. Reading runs
nothing that the file names: the classes that may be made are those of the engine's own
modules, without their constructors, and arrays are plain numbers
(`analytics.checkpoint_arrays`).

Layout: magic line, length and JSON of the header, two packed parts (objects, arrays; in
pieces, deflated where that helps), and a BLAKE2b checksum of all that.
"""

import hashlib
import io
import json
import pickle  # reading is confined: see `_OPCODES` and `_Reader.find_class`
import pickletools
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics.cell_grid import CellGrid
from analytics.checkpoint_arrays import ArrayReader, ArrayWriter
from analytics.checkpoint_code import (
    BLANKS,
    CONTAINERS,
    Blanks,
    Fixed,
    code_digest,
    digest,
    reduce_object,
)
from analytics.engine import Engine
from analytics.radio_map import RadioMap
from analytics.store import Store

SCHEMA = "fanous.engine/1"
_MAGIC = SCHEMA.encode() + b"\n"
_SUM_BYTES = 16
_PIECE_BYTES, _TRIED_BYTES, _HELPS = 1 << 18, 1 << 12, 0.75
"""Numbers of beliefs hardly deflate; a piece is deflated when its beginning shrinks to this."""
_OPCODES = frozenset(
    [
        *("PROTO", "FRAME", "STOP", "MARK", "MEMOIZE", "BINGET", "LONG_BINGET", "POP", "POP_MARK"),
        *("NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "LONG4"),
        *("BINFLOAT", "SHORT_BINUNICODE", "BINUNICODE", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8"),
        *("EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_DICT", "SETITEM", "SETITEMS"),
        *("EMPTY_SET", "ADDITEMS", "FROZENSET", "EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
        *("TUPLE", "STACK_GLOBAL", "REDUCE", "BUILD", "BINPERSID"),
    ]
)
"""What `_Writer` writes. Others make classes by themselves, or memory by a number."""
_BAD_CONTENT = (
    pickle.UnpicklingError, ArithmeticError, AttributeError, BufferError, EOFError, LookupError,
    MemoryError, RecursionError, TypeError, ValueError, zlib.error,
)  # fmt: skip


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message says why and what to do."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"checkpoint: {reason}; replay the journal instead")


def save(engine: Engine, *, version: str = "") -> bytes:
    """Return the state of an engine.

    Parameters
    ----------
    engine : between two calls
    version : of the product; only the same one restores it

    Returns
    -------
    data : see the notes for their size

    Raises
    ------
    TypeError
        The engine holds something that has no place in a state (an open file, a generator).

    Notes
    -----
    Numbers of beliefs hardly deflate, so the size is that of the rings: about 31 kB for a
    followed tag in a store of 288 cells with a lag of 10 s, and 3 kB for one at rest, most
    of it what a lane still holds that was lent to it. 200 followed tags take 6.8 MB and
    0.14 s to save, 0.09 s to restore; 2,000 take 62 MB, 0.5 s and 0.4 s; one takes 69 kB
    (``python -m tests.analytics.checkpoint_bench 200 900``). Nothing else may call the
    engine meanwhile.
    """
    fixed = Fixed(engine)
    arrays = ArrayWriter(fixed.path_of)
    buffer = io.BytesIO()
    _Writer(buffer, fixed, arrays).dump(engine)
    table, numbers = arrays.finish()
    objects = pickle.dumps((table, buffer.getvalue()), protocol=5)
    head = _facts(fixed, version) | {"objects": len(objects), "arrays": len(numbers)}
    parts = [b"".join(_packed(part)) for part in (objects, numbers)]
    header = json.dumps(head | {"packed": [len(part) for part in parts]}).encode()
    data = b"".join([_MAGIC, len(header).to_bytes(4, "little"), header, *parts])
    return data + _checksum(data)


def restore(
    data: bytes,
    store: Store,
    radio_map: RadioMap,
    *,
    name_of: Callable[[NDArray[np.int32]], list[str]],
    grid: CellGrid | None = None,
    version: str = "",
) -> Engine:
    """Return an engine that goes on where a saved one was.

    Parameters
    ----------
    data : what `save` returned
    store, radio_map, grid : as the saved engine had them
    name_of : returns the pseudonyms of tag ids, for the same ids as before
    version : of the product

    Raises
    ------
    CheckpointError
        The data are damaged, or belong to other code, another store or radio map.
    """
    head, objects, numbers = _opened(data)
    fresh = Engine(store, radio_map, name_of=name_of, grid=grid)
    fixed = Fixed(fresh)
    for key, fact in _facts(fixed, version).items():
        if head.get(key) != fact:
            what = {
                "version": "another version of the product",
                "code": "another build of the program, of Python or of numpy",
                "store": "another store file",
                "fixed": "another radio map or other cells",
            }[key]
            raise CheckpointError(f"it was made with {what}")
    try:
        table, graph = _Reader(_checked(objects)).load()
        engine = _Reader(_checked(graph), fixed, ArrayReader(table, numbers, fixed.at)).load()
    except _BAD_CONTENT as error:
        raise CheckpointError(f"its content is not valid ({type(error).__name__})") from error
    if type(engine) is not Engine or vars(engine).keys() != vars(fresh).keys():
        raise CheckpointError("its content is not an engine")
    return engine


class _Writer(pickle.Pickler):
    def __init__(self, file: io.BytesIO, fixed: Fixed, arrays: ArrayWriter) -> None:
        super().__init__(file, protocol=5)
        self._fixed, self._arrays = fixed, arrays

    def persistent_id(self, obj: Any) -> Any:  # noqa: ANN401 (any object of the engine)
        """Keep what is fixed, and all numbers of numpy, out of the stream."""
        if isinstance(obj, np.ndarray):
            return self._arrays.add(obj)
        if isinstance(obj, np.generic):
            return ("scalar", obj.dtype.str, obj.tobytes())
        path = self._fixed.path_of(obj)
        return None if path is None else ("fixed", path)

    def reducer_override(self, obj: Any) -> Any:  # noqa: ANN401 (any object of the engine)
        """Write the engine's own objects as a name and their attributes."""
        return reduce_object(obj, self._fixed.classes)


class _Reader(pickle.Unpickler):
    def __init__(
        self, file: io.BytesIO, fixed: Fixed | None = None, arrays: ArrayReader | None = None
    ) -> None:
        super().__init__(file)
        self._fixed, self._arrays = fixed, arrays
        self._blanks = Blanks({} if fixed is None else fixed.classes)

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 (pickle's own signature)
        """Return one of the few things a checkpoint may name."""
        if (module, name) in BLANKS:
            return getattr(self._blanks, BLANKS[module, name])
        if (module, name) in CONTAINERS:
            return CONTAINERS[module, name]
        raise pickle.UnpicklingError("a name that no checkpoint has")

    def persistent_load(self, pid: Any) -> Any:  # noqa: ANN401 (any object of the engine)
        """Return a fixed part of the fresh engine, an array or a number."""
        if self._fixed is None or self._arrays is None:
            raise pickle.UnpicklingError("nothing may be referred to here")
        kind, *rest = pid
        if kind == "fixed":
            return self._fixed.at(rest[0])
        if kind == "scalar":
            return self._arrays.scalar(*rest)
        return self._arrays.get(rest[0])


def _facts(fixed: Fixed, version: str) -> dict[str, str]:
    """Return what must agree between the two engines."""
    return {
        "version": version,
        "code": code_digest(fixed.modules),
        "store": digest([part for part in fixed.roots if isinstance(part, Store)]),
        "fixed": digest([part for part in fixed.roots if not isinstance(part, Store)]),
    }


def _checked(objects: bytes) -> io.BytesIO:
    """Return a stream of pickle that holds nothing unusual."""
    if any(op.name not in _OPCODES for op, _, _ in pickletools.genops(objects)):
        raise pickle.UnpicklingError("an operation that no checkpoint has")
    return io.BytesIO(objects)


def _packed(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), _PIECE_BYTES):
        piece = data[start : start + _PIECE_BYTES]
        tried = piece[:_TRIED_BYTES]
        is_deflated = len(zlib.compress(tried, 1)) < _HELPS * len(tried)
        piece = zlib.compress(piece, 1) if is_deflated else piece
        yield bytes([is_deflated]) + len(piece).to_bytes(4, "little")
        yield piece


def _unpacked(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        end = at + 5 + int.from_bytes(data[at + 1 : at + 5], "little")
        piece = data[at + 5 : end]
        yield zlib.decompressobj().decompress(piece, _PIECE_BYTES) if data[at] else piece
        at = end


def _checksum(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_SUM_BYTES).digest()


def _opened(data: bytes) -> tuple[dict[str, Any], bytes, bytes]:
    """Check a checkpoint from outside; return its header and its inflated parts."""
    if not data.startswith(_MAGIC):
        raise CheckpointError(f"expected data that begin with {SCHEMA!r}, got something else")
    body, found = data[:-_SUM_BYTES], data[-_SUM_BYTES:]
    if len(data) < len(_MAGIC) + 4 + _SUM_BYTES or _checksum(body) != found:
        raise CheckpointError("it is damaged or cut off (the checksum does not match)")
    try:
        at = len(_MAGIC) + 4
        end = at + int.from_bytes(body[at - 4 : at], "little")
        head = json.loads(body[at:end])
        parts = []
        for size, length in zip((head["objects"], head["arrays"]), head["packed"], strict=True):
            part = b"".join(_unpacked(body[end : end + length]))
            if len(part) != size:
                raise ValueError("a part has another length than its header says")
            parts.append(part)
            end += length
    except _BAD_CONTENT as error:
        raise CheckpointError("its header does not fit its content") from error
    return head, parts[0], parts[1]
