"""What became of the rows: used, dropped by reason, late, of names nobody knows.

Rules of the file: reasons are of a bounded set; of unknown names only so many are told
apart, the rest are counted together.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNKNOWN_NAMES_MAX = 64
_NAMES = ("used", "dropped", "late", "unknown")


class RowCounts:
    """Counts since the driver started, or since its checkpoint's driver did.

    Attributes
    ----------
    used, late : rows by kind; late ones are among the used
    dropped : rows by reason
    unknown : rows by ``what name``
    """

    def __init__(self) -> None:
        self.used: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.late: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()

    def drop(self, reason: str, rows: NDArray[np.bool_]) -> None:
        """Count rows that are not used.

        Parameters
        ----------
        reason : why
        rows : True for each of them
        """
        count = int(np.count_nonzero(rows))
        if count:
            self.dropped[reason] += count

    def note_unknown(self, what: str, name: str, rows: int, report: Callable[[str], None]) -> None:
        """Count rows of a name that is not in the store file; tell of each name once.

        Parameters
        ----------
        what : what it should name
        name : it follows the grammar of names
        rows : how many
        report : told a sentence
        """
        key = f"{what} {name}"
        if key not in self.unknown:
            if len(self.unknown) >= UNKNOWN_NAMES_MAX:
                key = "others"
            else:
                report(
                    f"{what} '{name}' is not in the store file: {rows} rows dropped so far, "
                    "more are only counted; add it to the store file or remove it from the agent"
                )
        self.unknown[key] += rows

    def state(self) -> dict[str, dict[str, int]]:
        """Return the counts as plain data."""
        return {name: dict(getattr(self, name)) for name in _NAMES}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned.

        Parameters
        ----------
        state : plain data
        """
        for name in _NAMES:
            setattr(self, name, Counter(state[name]))
