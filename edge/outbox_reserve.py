"""A piece of the disk kept for the day on which it is full.

Rules of the file: the reserve is a file of real blocks beside the outbox. It is given back
when a commit finds no room: SQLite then can bring its write-ahead log into the database and
write again, taps first. It is taken again only when the disk has room for it twice over.
"""

import os
from pathlib import Path

_ROOMY_BYTES = 4_000_000


class Reserve:
    """One file that holds room.

    Parameters
    ----------
    path : of the file
    size_bytes : 0 = there is no reserve
    """

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._path = path
        self._size_bytes = size_bytes

    def take(self) -> bool:
        """Take the room; false where the disk has not twice as much, or cannot be asked."""
        if self._size_bytes and self._held_bytes() >= self._size_bytes:
            return True
        try:
            disk = os.statvfs(self._path.parent)
            if disk.f_bavail * disk.f_frsize < max(2 * self._size_bytes, _ROOMY_BYTES):
                return False
            if not self._size_bytes:
                return True
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, self._size_bytes)
            finally:
                os.close(descriptor)
        except OSError:
            self.give_back()
            return False
        return True

    def give_back(self) -> bool:
        """Give the room to whoever writes next; false when there was none."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True

    def _held_bytes(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0
