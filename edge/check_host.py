"""Checks of the machine an agent runs on: clock, disk, its folder, its outbox.

Rules of the file: looks and changes nothing. The outbox of a running agent is only read,
by a transaction that its writer does not wait for (SQLite in WAL mode). Of the clock there
are three proofs: its year, the files that are from the future, and what the kernel says of
its own error (``adjtimex(2)``; as systemd does, more than 16 s is "nobody keeps it").
"""

import ctypes
import fcntl
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from edge.findings import Check, Fault, guarded, judged

YEARS = (2025, 2100)
"""A clock outside has never been set: a Raspberry Pi has no battery."""
_UNSYNCHRONISED, _ERROR_MOST_US = 0x0040, 16_000_000
_FUTURE_S = 60.0
NEARLY_FULL = 0.8
SPARE_MB = 64
"""Room for what is beside the outbox."""
READ_S = 5.0
_NTP = "let it be kept: timedatectl set-ntp true, and let the shop's network pass NTP (UDP 123)"


class KernelClock(NamedTuple):
    """What the kernel says of its clock."""

    is_kept: bool
    error_s: float


def kernel_clock() -> KernelClock | None:
    """Ask the kernel whether somebody keeps its clock; None = it does not say."""

    class Timex(ctypes.Structure):
        _fields_ = [
            ("modes", ctypes.c_uint),
            *((name, ctypes.c_long) for name in ("offset", "freq", "maxerror", "esterror")),
            ("status", ctypes.c_int),
            ("rest", ctypes.c_byte * 256),
        ]

    record = Timex()
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.byref(record))
    except (AttributeError, OSError):
        return None
    if state < 0:
        return None
    is_adrift = bool(record.status & _UNSYNCHRONISED) and record.maxerror >= _ERROR_MOST_US
    return KernelClock(is_kept=not is_adrift, error_s=record.maxerror / 1e6)


def is_virtual_machine(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Tell whether a host keeps this machine's clock, so that its kernel need not.

    Parameters
    ----------
    cpuinfo : as Linux shows it
    """
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return any(
        "hypervisor" in line.split() for line in text.splitlines() if line.startswith("flags")
    )


def check_clock(
    now_ns: int,
    *,
    files: Iterable[Path] = (),
    kernel: KernelClock | None = None,
    is_virtual: bool = False,
    step_s: float = 0.0,
    step_most_s: float = 0.2,
) -> Check:
    """Check that the clock is set, not behind, kept, and was not stepped meanwhile.

    Parameters
    ----------
    now_ns : [ns] what it says
    files : written on this machine: none can be from the future
    kernel : what the kernel says
    is_virtual : an unkept clock is then the host's matter
    step_s : [s] by how much it was stepped while it was looked at
    step_most_s : [s] what is no step
    """
    seconds = max(now_ns, 0) / 1e9
    shown = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
    newest_s = max((_written_s(path) for path in files), default=0.0)
    faults = []
    if not YEARS[0] <= time.gmtime(seconds).tm_year < YEARS[1]:
        faults.append("it was never set")
    elif newest_s > seconds + _FUTURE_S:
        faults.append(f"it is at least {newest_s - seconds:.0f} s behind files written here")
    if abs(step_s) >= step_most_s:
        faults.append(f"stepped by {step_s:+.1f} s in between")
    note = ""
    if kernel is not None and not kernel.is_kept:
        if is_virtual:
            note = ", not kept by NTP here; on a virtual machine the host may keep it"
        else:
            faults.append("nobody keeps it: the kernel is not synchronised by NTP")
    return judged(
        name="clock",
        ok=not faults,
        found=", ".join([shown, *faults]) + note,
        expected=f"a year from {YEARS[0]} on, kept by NTP, and no steps",
        remedy=_NTP,
    )


def check_disk(path: Path, *, least_mb: int, free_mb: Callable[[Path], int] | None = None) -> Check:
    """Check the free space of the disk that holds a folder.

    Parameters
    ----------
    path : the folder, or where it will be
    least_mb : [MB] that must be free
    free_mb : [MB] free on the disk of a folder
    """
    free_mb = free_mb or _free_mb

    def look() -> str:
        free = free_mb(nearest_there(path))
        if free < least_mb:
            raise ValueError(f"{free} MB free on the disk of {path}")
        return f"{free} MB free on the disk of {path}"

    return guarded("disk", f"{least_mb} MB free", "make room, or choose another state_dir", look)


def check_state_dir(path: Path) -> Check:
    """Check that a state folder is there and can be written, or can be made.

    Parameters
    ----------
    path : the folder
    """

    def look() -> str:
        there = nearest_there(path)
        if not there.is_dir():
            raise ValueError(f"{there} is a file")
        if not os.access(there, os.W_OK | os.X_OK):
            what = "cannot be written" if there == path else f"is not there, {there} not writable"
            raise ValueError(f"{path} {what}")
        if there != path:
            return f"{path} will be made"
        with tempfile.NamedTemporaryFile(dir=path, prefix=".probe-"):
            return f"{path} can be written"

    return guarded(
        "state_dir",
        "a folder that this user can write",
        f"change its owner: chown -R $(id -un) {path}, or choose another state_dir",
        look,
    )


def check_agent_state(
    path: Path, *, max_mb: int, free_mb: Callable[[Path], int] | None = None
) -> Iterator[Check]:
    """Check an agent's folder, the disk under it, and how full its outbox is.

    Parameters
    ----------
    path : ``state_dir``
    max_mb : [MB] as ``[outbox] max_mb`` says
    free_mb : [MB] free on the disk of a folder

    Yields
    ------
    check : of the folder, of the disk, of the outbox if there is one
    """
    yield check_state_dir(path)
    file = path / "outbox.sqlite"
    try:
        held_mb = file.stat().st_size // 1_000_000
    except OSError:
        held_mb = 0
    yield check_disk(path, least_mb=max(max_mb - held_mb, 0) + SPARE_MB, free_mb=free_mb)
    if file.exists():
        yield check_outbox(file, max_mb=max_mb)


def check_outbox(file: Path, *, max_mb: int) -> Check:
    """Check how full an outbox is; a running agent does not notice.

    Parameters
    ----------
    file : ``outbox.sqlite``
    max_mb : [MB] what it may hold
    """
    damaged = "move it away to start with an empty one; what it held and nobody took is lost"

    def look() -> str:
        try:
            held, batches, rows, lost = _read_outbox(file)
        except sqlite3.DatabaseError as error:
            raise Fault(f"{file} cannot be read ({error})", damaged) from error
        share = held / (max_mb * 1e6)
        found = f"{held / 1e6:.1f} MB of {max_mb} MB in {batches} batches ({rows} rows) wait"
        if lost:
            found += f", {lost} rows had to give way since it was made"
        if share >= NEARLY_FULL:
            raise ValueError(f"{share:.0%} full: {found}")
        return found

    return guarded(
        "outbox",
        f"less than {NEARLY_FULL:.0%} of [outbox] max_mb",
        "see that broker and gateway run and acknowledge this agent; meanwhile raise "
        "[outbox] max_mb, or the oldest readings give way",
        look,
        seconds=READ_S,
    )


def is_locked(path: Path) -> bool:
    """Tell whether a running agent or gateway holds the lock of its state directory.

    Parameters
    ----------
    path : the lock file; it need not be there
    """
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def nearest_there(path: Path) -> Path:
    """Return the path or the nearest part of it that exists.

    Parameters
    ----------
    path : a file or folder that may not be there yet
    """
    return next(part for part in (path, *path.parents) if part.exists())


def _read_outbox(file: Path) -> tuple[int, int, int, int]:
    uri = f"{file.resolve().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=READ_S / 2)) as database:
        database.execute("PRAGMA query_only = ON")
        held, batches, rows = database.execute(
            "SELECT coalesce(sum(length(payload)), 0), count(*), coalesce(sum(rows), 0) FROM outbox"
        ).fetchone()
        (lost,) = database.execute("SELECT coalesce(sum(rows), 0) FROM loss").fetchone()
    return held, batches, rows, lost


def _written_s(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _free_mb(path: Path) -> int:
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize // 1_000_000
