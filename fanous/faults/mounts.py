"""File systems for faults: an ext4 on a loop device that loses its power, a small tmpfs.

Rules of the file: needs root; what was mounted is unmounted whatever happens, and the
table of mounts is looked at in the end. The power cut is the file system's own: the
shutdown ioctl of ext4 (Linux, fs/ext4/ioctl.c, EXT4_IOC_SHUTDOWN with
EXT4_GOING_FLAGS_NOLOGFLUSH) drops everything that was not synced, and the next mount
replays its journal, as after a real cut.
"""

import contextlib
import fcntl
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from fanous.faults.outcome import NotHereError
from fanous.faults.processes import need, need_root, run_tool

EXT4_IOC_SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, 2
_UNMOUNT_S = 10.0


class LoopDisk:
    """An ext4 in a file.

    Parameters
    ----------
    image : the file, made
    place : where it is mounted
    size_mb : [MB]
    """

    def __init__(self, image: Path, place: Path, *, size_mb: int = 64) -> None:
        self.image, self.place = image, place
        place.mkdir(parents=True)
        with image.open("wb") as file:
            file.truncate(size_mb * 1024 * 1024)
        run_tool("mkfs.ext4", "-q", "-F", str(image))
        self.mount()

    def mount(self) -> float:
        """Mount it; return how long that took [s]."""
        began_s = time.monotonic()
        run_tool("mount", "-o", "loop", str(self.image), str(self.place))
        return time.monotonic() - began_s

    def cut_power(self) -> None:
        """Lose everything that was not synced; the programs on it fail from now on."""
        where = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(where, EXT4_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        except OSError as error:
            raise NotHereError(
                f"expected an ext4 that can be shut down (EXT4_IOC_SHUTDOWN), got {error.strerror}"
            ) from error
        finally:
            os.close(where)

    def unmount(self) -> None:
        """Unmount it; nobody may use it any more."""
        _unmount(self.place)


@contextlib.contextmanager
def loop_disk(image: Path, place: Path, *, size_mb: int = 64) -> Iterator[LoopDisk]:
    """Make and mount an ext4; unmount it in the end.

    Parameters
    ----------
    image : the file, made
    place : where it is mounted, made
    size_mb : [MB]

    Yields
    ------
    disk : mounted

    Raises
    ------
    NotHereError
        This machine does not allow it.
    """
    need_root("mounting an ext4 on a loop device")
    need("mkfs.ext4", "e2fsprogs")
    if not Path("/dev/loop-control").exists():
        raise NotHereError("expected loop devices (/dev/loop-control), found none")
    try:
        yield LoopDisk(image, place, size_mb=size_mb)
    finally:
        _unmount(place)


@contextlib.contextmanager
def small_disk(place: Path, *, size_mb: int) -> Iterator[Path]:
    """Mount a tmpfs; unmount it in the end.

    Parameters
    ----------
    place : where, made
    size_mb : [MB]

    Yields
    ------
    place : mounted

    Raises
    ------
    NotHereError
        This machine does not allow it.
    """
    need_root("mounting a small tmpfs")
    place.mkdir(parents=True)
    run_tool("mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(place))
    try:
        yield place
    finally:
        _unmount(place)


def is_mounted(place: Path) -> bool:
    """Tell whether something is mounted at a place.

    Parameters
    ----------
    place : where
    """
    lines = Path("/proc/mounts").read_text().splitlines()
    return str(place) in {line.split()[1] for line in lines}


def _unmount(place: Path) -> None:
    """Unmount what is there; a program that was just killed may hold it for a moment."""
    until_s = time.monotonic() + _UNMOUNT_S
    while is_mounted(place):
        try:
            run_tool("umount", str(place))
        except NotHereError:
            if time.monotonic() > until_s:
                run_tool("umount", "-l", str(place))
                raise
            time.sleep(0.05)
