"""Checks of this machine: Python, packages, names, clock, disk, radios, programs.

Rules of the file: checks as of `edge.findings`; nothing is changed, nothing of a
configuration is needed here (that is `fanous.doctor_config`). What an agent's own check
looks at, too, is in `edge.check_host`.
"""

import importlib.metadata
import importlib.util
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from edge.check_host import KernelClock, check_clock, check_disk
from edge.findings import Check, judged

PYTHON_FROM, PYTHON_BEFORE = (3, 11), (3, 14)
IMPORT_PACKAGES = (
    "fanous", "edge", "gateway", "firmware_profiles", "ingest", "analytics", "simulators",
)  # fmt: skip
MACHINE_FREE_MB = 200
BLUETOOTH = Path("/sys/class/bluetooth")
SYSTEM_PLACES = "/usr/sbin:/usr/local/sbin"
_REQUIREMENT = re.compile(
    r"^(?P<name>[A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*(?:>=\s*(?P<least>[0-9.]+))?"
    r"(?:[^;]*;\s*extra\s*==\s*['\"](?P<extra>[a-z]+)['\"])?"
)


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


def check_clock_of(
    began: tuple[int, int],
    ended: tuple[int, int],
    *,
    files: Iterable[Path] = (),
    kernel: KernelClock | None = None,
    is_virtual: bool = False,
) -> Check:
    """Check that the clock is set and kept, and was not stepped while doctor looked.

    Parameters
    ----------
    began, ended : (wall, monotonic) [ns] at two moments
    files : written on this machine: none can be from the future
    kernel : what the kernel says of its clock
    is_virtual : an unkept clock is then the host's matter
    """
    step_s = ((ended[0] - began[0]) - (ended[1] - began[1])) / 1e9
    return check_clock(ended[0], files=files, kernel=kernel, is_virtual=is_virtual, step_s=step_s)


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
