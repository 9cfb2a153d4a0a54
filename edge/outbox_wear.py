"""How much an agent writes to its disk: memory cards wear out by it.

Rules of the file: it reads what the kernel counts for this process (proc(5), ``io``:
``write_bytes`` are those that were sent to the storage layer) and changes nothing.
"""

from collections.abc import Callable
from pathlib import Path

_DAY_S = 86_400.0
_LEAST_S = 60.0


class Wear:
    """Counts from now on.

    Parameters
    ----------
    clock_s : [s] monotonic
    process : the process's folder under ``/proc``
    """

    def __init__(self, *, clock_s: Callable[[], float], process: Path = Path("/proc/self")) -> None:
        self._clock_s = clock_s
        self._process = process
        self._began_s = clock_s()
        self._began_bytes = self._written_bytes() or 0

    def per_day(self) -> dict[str, int] | None:
        """Return bytes written, and a day's worth at this rate.

        Returns
        -------
        wear : ``written_bytes``, and after a minute ``written_bytes_per_day``; None where the
            kernel does not say
        """
        written = self._written_bytes()
        if written is None:
            return None
        since = max(0, written - self._began_bytes)
        found = {"written_bytes": since}
        age_s = self._clock_s() - self._began_s
        if age_s >= _LEAST_S:
            found["written_bytes_per_day"] = round(since * _DAY_S / age_s)
        return found

    def _written_bytes(self) -> int | None:
        try:
            text = (self._process / "io").read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            return None
        for line in text.splitlines():
            name, _, value = line.partition(":")
            if name == "write_bytes" and value.strip().isdigit():
                return int(value)
        return None
