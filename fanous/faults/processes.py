"""Programs that are started, killed and started again, each in its folder.

Rules of the file: everything is ended by its own pid, whatever happens (`Programs` is a
context); a program that ends by itself is noted, because it should not; ports are free
ones of 127.0.0.1; a wait has a deadline and says what it waited for.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from fanous.faults.outcome import NotHereError

PLACES = "/usr/sbin:/usr/local/sbin:/sbin"
"""Where Debian puts servers and tools of the administrator; not on everybody's PATH."""
READY_S, STOP_S = 30.0, 20.0
_LOOK_S = 0.02


class TooLateError(Exception):
    """What was waited for did not come; the sentence says what."""


class Program:
    """One program with its log, which may be started many times.

    Parameters
    ----------
    name : for messages and the log file
    arguments : with the program's path
    folder : its working directory; the log is in it
    is_ready : whether it answers; None = as soon as it runs
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        folder: Path,
        *,
        is_ready: Callable[[], bool] | None = None,
    ) -> None:
        self.name = name
        self.arguments = list(arguments)
        self.folder = folder
        self.log = folder / f"{name}.log"
        self.port = 0
        self.starts = 0
        self.ended_alone: list[str] = []
        self._is_ready = is_ready
        self._process: subprocess.Popen[bytes] | None = None
        self._log_begin = 0

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        self.note_end()
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start it; does not wait."""
        self.note_end()
        if self._process is not None:
            return
        self.starts += 1
        self._log_begin = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own programs and servers
                self.arguments,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            )

    def start_ready(self) -> None:
        """Start it and wait until it answers.

        Raises
        ------
        TooLateError
            It does not, or it ended.
        """
        self.start()
        wait_until(self.is_ready, f"{self.name} answers", READY_S)

    def is_ready(self) -> bool:
        """Tell whether it runs and answers."""
        return self.pid is not None and (self._is_ready is None or self._is_ready())

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self.pid is not None and self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None

    def stop(self) -> int | None:
        """Ask it to end; return its exit code, None when it did not run or had to be killed."""
        if self.pid is None or self._process is None:
            return None
        self._process.send_signal(signal.SIGTERM)
        try:
            code: int | None = self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            code = None
        self._process = None
        return code

    def note_end(self) -> None:
        """Note that it ended by itself, if it did."""
        if self._process is not None and self._process.poll() is not None:
            code, self._process = self._process.returncode, None
            self.ended_alone.append(f"{self.name} ended by itself with {code}: {self.last_words()}")

    def last_words(self) -> str:
        """Return the end of the log in one line."""
        lines = self.log_text()[-4000:].strip().splitlines()
        return " | ".join(lines[-3:]) if lines else "(nothing was logged)"

    def log_since_start(self) -> str:
        """Return what was logged since the last start."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(self._log_begin)
            return log.read().decode(errors="replace")

    def log_text(self) -> str:
        """Return the whole log."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def memory_mb(self) -> float:
        """Return its resident memory [MB], 0 when it does not run."""
        return _status_mb(self.pid, "VmRSS")

    def peak_memory_mb(self) -> float:
        """Return the most resident memory since its start [MB], 0 when it does not run."""
        return _status_mb(self.pid, "VmHWM")

    def open_files(self) -> int:
        """Return how many files it has open, 0 when it does not run."""
        pid = self.pid
        try:
            return 0 if pid is None else len(list(Path(f"/proc/{pid}/fd").iterdir()))
        except OSError:
            return 0


class Programs:
    """A context that ends every program that was made in it."""

    def __init__(self) -> None:
        self._all: list[Program] = []

    def add(self, program: Program) -> Program:
        """Take charge of a program and return it.

        Parameters
        ----------
        program : not yet started
        """
        self._all.append(program)
        return program

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """End everything, newest first."""
        for program in reversed(self._all):
            program.kill()


def need(program: str, package: str | None = None) -> str:
    """Return the path of a program.

    Parameters
    ----------
    program : its name
    package : of Debian, where it has another name

    Raises
    ------
    NotHereError
        It is not installed.
    """
    found = shutil.which(program) or shutil.which(program, path=PLACES)
    if found is None:
        raise NotHereError(
            f"expected {program} on the PATH or in /usr/sbin, found none; "
            f"install it, for example with: apt-get install {package or program}"
        )
    return found


def need_root(what: str) -> None:
    """Check that this is root.

    Parameters
    ----------
    what : what needs it

    Raises
    ------
    NotHereError
        It is not.
    """
    if os.geteuid() != 0:
        raise NotHereError(f"{what} needs root; run this fault as root")


def run_tool(*words: str) -> str:
    """Run a short command of the system and return what it said.

    Parameters
    ----------
    words : the command

    Raises
    ------
    NotHereError
        It failed: this machine does not allow it.
    """
    done = subprocess.run(  # noqa: S603 - literal commands of this package
        [need(words[0]), *words[1:]], capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise NotHereError(f"{' '.join(words[:3])} … failed here: {said[-1] if said else 'silent'}")
    return done.stdout


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accepts(port: int, host: str = "127.0.0.1") -> bool:
    """Tell whether somebody takes connections.

    Parameters
    ----------
    port : where
    host : where
    """
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def wait_until(holds: Callable[[], bool], what: str, limit_s: float) -> float:
    """Wait until something holds; return how long that took [s].

    Parameters
    ----------
    holds : asked again and again
    what : for the message
    limit_s : [s] longest wait

    Raises
    ------
    TooLateError
        It never held.
    """
    began_s = time.monotonic()
    while not holds():
        if time.monotonic() - began_s > limit_s:
            raise TooLateError(f"expected within {limit_s:g} s: {what}")
        time.sleep(_LOOK_S)
    return time.monotonic() - began_s


def _status_mb(pid: int | None, name: str) -> float:
    if pid is None:
        return 0.0
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    for line in text.splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024.0
    return 0.0
