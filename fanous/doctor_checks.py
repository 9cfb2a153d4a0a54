"""Checks of this machine: Python, packages, names, clock, disk, radios, programs.

Rules of the file: a check is a record with what was found, what was expected and what to
do about it; it never raises and never hangs (`guarded`). Nothing is changed, nothing of a
configuration is needed here (that is `fanous.doctor_config`).
"""

import importlib.metadata
import importlib.util
import os
import queue
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ingest.config import ConfigError

PYTHON_FROM, PYTHON_BEFORE = (3, 11), (3, 14)
IMPORT_PACKAGES = (
    "fanous", "edge", "gateway", "firmware_profiles", "ingest", "analytics", "simulators",
)  # fmt: skip
YEARS = (2025, 2100)
"""A clock outside has never been set: a Raspberry Pi has no battery."""
CLOCK_STEP_S = 0.2
CHECK_S = 10.0
"""No check takes longer; what it waited for is then taken as broken."""
MACHINE_FREE_MB = 200
BLUETOOTH = Path("/sys/class/bluetooth")
SYSTEM_PLACES = "/usr/sbin:/usr/local/sbin"
_REQUIREMENT = re.compile(
    r"^(?P<name>[A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*(?:>=\s*(?P<least>[0-9.]+))?"
    r"(?:[^;]*;\s*extra\s*==\s*['\"](?P<extra>[a-z]+)['\"])?"
)
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at; `remedy` is empty when there is nothing to do."""

    name: str
    ok: bool
    found: str
    expected: str
    remedy: str = ""


def judged(name: str, found: str, expected: str, remedy: str, *, ok: bool) -> Check:
    """Return a check that shows its remedy only when it does not hold.

    Parameters
    ----------
    name, found, expected, remedy : of the check
    ok : whether it holds
    """
    return Check(name=name, ok=ok, found=found, expected=expected, remedy="" if ok else remedy)


def guarded(
    name: str, expected: str, remedy: str, work: Callable[[], str], *, seconds: float = CHECK_S
) -> Check:
    """Return the check that some work makes: it returns what it found, or raises.

    Parameters
    ----------
    name, expected, remedy : of the check; a check that holds shows no remedy
    work : whatever it raises is a fault of what it looks at
    seconds : [s] how long it may take
    """
    try:
        found = within(seconds, work)
    except ModuleNotFoundError as error:
        found = f"the package '{error.name}' is not installed"
        remedy = "install fanous with the extra it needs: edge or gateway"
    except (ConfigError, TimeoutError, ValueError) as error:
        found = str(error)
    except OSError as error:
        found = error.strerror or str(error) or type(error).__name__
    except Exception as error:
        found = f"{type(error).__name__}: {error}"
    else:
        return Check(name=name, ok=True, found=found, expected=expected)
    return Check(name=name, ok=False, found=found, expected=expected, remedy=remedy)


def within(seconds: float, work: Callable[[], T]) -> T:
    """Return what some work returns, or raise what it raises, but not later than this.

    Parameters
    ----------
    seconds : [s]
    work : goes on in a thread that nobody waits for when it takes longer

    Raises
    ------
    TimeoutError
        It took longer.
    """
    answers: queue.Queue[tuple[T, None] | tuple[None, BaseException]] = queue.Queue(1)

    def run() -> None:
        try:
            answers.put((work(), None))
        except BaseException as error:
            answers.put((None, error))

    threading.Thread(target=run, name="doctor-probe", daemon=True).start()
    try:
        value, error = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds:g} s") from None
    if error is not None:
        raise error
    return value  # type: ignore[return-value]


def check_python(version: Sequence[int] = sys.version_info[:3]) -> Check:
    """Check the version of Python.

    Parameters
    ----------
    version : of this interpreter
    """
    return judged(
        name="python",
        ok=PYTHON_FROM <= tuple(version[:2]) < PYTHON_BEFORE,
        found=".".join(map(str, version)),
        expected="3.11, 3.12 or 3.13",
        remedy="make the environment again with one of these versions",
    )


def check_packages(
    needed: frozenset[str],
    *,
    requirements: Iterable[str] | None = None,
    version_of: Callable[[str], str | None] | None = None,
) -> list[Check]:
    """Check the packages that fanous needs.

    Parameters
    ----------
    needed : extras whose packages must be there; others may be missing
    requirements : as in the metadata of the installed fanous
    version_of : installed version of a distribution, None = it is not there
    """
    if requirements is None:
        requirements = _requirements()
    version_of = version_of or _version_of
    found: dict[str, Check] = {}
    for line in requirements:
        match = _REQUIREMENT.match(line)
        if match is None or match["name"] == "fanous":
            continue
        name, least, extra = match["name"], match["least"], match["extra"]
        is_needed = extra is None or extra in needed
        if name in found and not is_needed:
            continue
        version = version_of(name)
        wanted = f"{least} or newer" if least else "installed"
        found[name] = judged(
            name=f"package {name}",
            ok=_is_at_least(version, least) if version else not is_needed,
            found=version or "not installed",
            expected=wanted if is_needed else f"{wanted}, if the extra '{extra}' is used",
            remedy="install fanous again with its extras; `make demo` does it in a checkout",
        )
    return list(found.values())


def check_names(
    owners: Mapping[str, Sequence[str]] | None = None,
    origin_of: Callable[[str], Path | None] | None = None,
) -> Check:
    """Check that our import packages, whose names are generic, are ours and no one else's.

    Parameters
    ----------
    owners : import package to the distributions that hold it
    origin_of : the folder that an import of a name would load, None = there is none
    """
    owners = importlib.metadata.packages_distributions() if owners is None else owners
    origin_of = origin_of or _origin_of
    home = origin_of("fanous")
    wrong = []
    for name in IMPORT_PACKAGES:
        others = sorted(set(owners.get(name, [])) - {"fanous"})
        origin = origin_of(name)
        if others:
            wrong.append(f"'{name}' belongs to {', '.join(others)} too")
        elif origin is None:
            wrong.append(f"'{name}' cannot be imported")
        elif home is not None and origin.parent != home.parent:
            wrong.append(f"'{name}' would be loaded from {origin.parent}")
    return judged(
        name="names",
        ok=not wrong,
        found="; ".join(wrong) or f"{len(IMPORT_PACKAGES)} import packages, all of fanous",
        expected=f"{', '.join(IMPORT_PACKAGES)} belong to fanous only",
        remedy="install fanous into an environment of its own",
    )


def check_clock(began: tuple[int, int], ended: tuple[int, int]) -> Check:
    """Check that the clock is set and was not stepped while doctor looked.

    Parameters
    ----------
    began, ended : (wall, monotonic) [ns] at two moments
    """
    year = time.gmtime(max(ended[0], 0) // 10**9).tm_year
    step_s = ((ended[0] - began[0]) - (ended[1] - began[1])) / 1e9
    is_set = YEARS[0] <= year < YEARS[1]
    is_steady = abs(step_s) < CLOCK_STEP_S
    shown = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(max(ended[0], 0) // 10**9))
    return judged(
        name="clock",
        ok=is_set and is_steady,
        found=shown if is_steady else f"{shown}, stepped by {step_s:+.1f} s in between",
        expected=f"a year from {YEARS[0]} on, and no steps",
        remedy="set it and keep it set, for example with: timedatectl set-ntp true",
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


def check_machine_disk() -> Check:
    """Check the disk of temporary files, which the demo uses."""
    return check_disk(Path(tempfile.gettempdir()), least_mb=MACHINE_FREE_MB)


def check_bluetooth(*, is_needed: bool, adapters: Path = BLUETOOTH) -> Check:
    """Check that there is a Bluetooth adapter.

    Parameters
    ----------
    is_needed : a source uses it
    adapters : where Linux lists them
    """
    try:
        found = sorted(entry.name for entry in adapters.iterdir())
    except OSError:
        found = []
    return judged(
        name="bluetooth",
        ok=bool(found) or not is_needed,
        found=", ".join(found) or "no adapter",
        expected="an adapter" if is_needed else "an adapter, if this machine hears tags itself",
        remedy="plug one in or enable it: rfkill unblock bluetooth",
    )


def check_mosquitto() -> Check:
    """Say where mosquitto is; for information only."""
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path=SYSTEM_PLACES)
    return Check(
        name="mosquitto",
        ok=True,
        found=found or "not installed; the demo uses its embedded broker",
        expected="on the PATH or in /usr/sbin (optional)",
    )


def nearest_there(path: Path) -> Path:
    """Return the path or the nearest part of it that exists.

    Parameters
    ----------
    path : a file or folder that may not be there yet
    """
    return next(part for part in (path, *path.parents) if part.exists())


def _requirements() -> list[str]:
    try:
        return importlib.metadata.requires("fanous") or []
    except importlib.metadata.PackageNotFoundError:
        return []


def _version_of(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _is_at_least(version: str, least: str | None) -> bool:
    def numbers(text: str) -> list[int]:
        return [int(part) for part in re.findall(r"\d+", text.partition("+")[0])][:3]

    return least is None or numbers(version) >= numbers(least)


def _origin_of(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    return None if spec is None or spec.origin is None else Path(spec.origin).resolve().parent


def _free_mb(path: Path) -> int:
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize // 1_000_000
