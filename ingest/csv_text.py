"""A CSV file as a stream of valid UTF-8, whatever bytes it holds.

Rules of the file: bytes that are no UTF-8 become question marks, one for one, so
that they spoil the cell they stand in and nothing else. pyarrow needs this: its
handler of broken lines fails on a line that is not UTF-8, and fails loudly.
"""

import codecs
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa


@contextmanager
def open_text(path: Path) -> Iterator["Utf8Stream"]:
    """Open a file, unpacked if its name ends in ``.gz``.

    Parameters
    ----------
    path : a text file, or nearly

    Yields
    ------
    stream : for pyarrow

    Raises
    ------
    OSError
        The file cannot be opened; while reading, also that it is no gzip or cut off.
    """
    compression = "gzip" if path.name.lower().endswith(".gz") else None
    with pa.input_stream(str(path), compression=compression) as raw:
        yield Utf8Stream(raw)


class Utf8Stream(io.RawIOBase):
    """Bytes of another stream with those that are no UTF-8 replaced.

    Parameters
    ----------
    raw : has ``read(size)``
    """

    def __init__(self, raw: Any) -> None:  # noqa: ANN401 - pyarrow has no types
        super().__init__()
        self._raw = raw
        # Keeps the beginning of a character that the next portion completes: 3 bytes at most.
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")

    def readable(self) -> bool:
        """Say that this can be read."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes, none at the end; all that are left if it is negative."""
        wanted = max(size - 4, 1) if size >= 0 else None
        while True:
            data: bytes = self._raw.read(wanted)
            clean = data.isascii() and self._decoder.getstate()[0] == b""
            if not clean:
                text = self._decoder.decode(data, final=not data)
                data, ended = text.encode("utf-8", errors="replace"), not data
                if not (data or ended):
                    continue
            return data
