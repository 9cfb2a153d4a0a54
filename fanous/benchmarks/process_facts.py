"""What the kernel says of a process: memory, CPU time, wake-ups, files mapped.

Rules of the file: Linux's ``/proc`` alone. A megabyte is 10⁶ bytes.
"""

import os
from pathlib import Path


def memory_mb(pid: int | str, field: str) -> float:
    """Return a process's memory [MB].

    Parameters
    ----------
    pid : of the process, or "self"
    field : VmRSS, what it holds now, or VmHWM, the most it ever held
    """
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    line = next(line for line in lines if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024 / 1e6


def cpu_s(pid: int) -> float:
    """Return how long a process has computed, in the kernel too [s].

    Parameters
    ----------
    pid : of the process
    """
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wakeups(pid: int) -> int:
    """Return how often the threads of a process went to sleep by themselves.

    Parameters
    ----------
    pid : of the process
    """
    found = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("voluntary_ctxt_switches:"):
                found += int(line.split()[1])
    return found


def mapped_files(pid: int) -> frozenset[str]:
    """Return the paths of all files that a process has mapped, its libraries among them.

    Parameters
    ----------
    pid : of the process
    """
    lines = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").splitlines()
    return frozenset(line.split(maxsplit=5)[5] for line in lines if len(line.split()) > 5)
