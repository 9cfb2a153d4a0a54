"""What a check found: a record, and running a look that may fail or hang.

Rules of the file: standard library only, so that `fanous doctor` may use it where nothing
else is installed. A check says what was found, what was expected and what to do about it;
it never raises and never hangs (`guarded`). No message repeats a tag, a key or a payload.
"""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from ingest.config import ConfigError

CHECK_S = 10.0
"""No check takes longer; what it waited for is then taken as broken."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at; `remedy` is empty when there is nothing to do."""

    name: str
    ok: bool
    found: str
    expected: str
    remedy: str = ""

    @property
    def sentence(self) -> str:
        """The finding as one sentence: subject, found, expected, remedy."""
        text = f"{self.name}: {self.found}; expected {self.expected}"
        return f"{text}; {self.remedy}" if self.remedy else text


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
    except Fault as fault:
        found, remedy = fault.found, fault.remedy
    except (ConfigError, TimeoutError, ValueError) as error:
        found = str(error)
    except OSError as error:
        found = error.strerror or str(error) or type(error).__name__
    except Exception as error:
        found = f"{type(error).__name__}: {error}"
    else:
        return Check(name=name, ok=True, found=found, expected=expected)
    return Check(name=name, ok=False, found=found, expected=expected, remedy=remedy)


class Fault(Exception):  # noqa: N818 - what a look found, not a failure of the look
    """A look found something that has a remedy of its own.

    Parameters
    ----------
    found : as in `Check`
    remedy : as in `Check`
    """

    def __init__(self, found: str, remedy: str) -> None:
        super().__init__(found)
        self.found, self.remedy = found, remedy


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

    threading.Thread(target=run, name="check", daemon=True).start()
    try:
        value, error = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds:g} s") from None
    if error is not None:
        raise error
    return value  # type: ignore[return-value]
