"""Who speaks on the air and is understood by no profile: counted by company and service.

Rules of the file: numbers of companies and services only, never an address or a name. The
table is bounded: when it is full, the sender heard least gives way and its count goes to
`other`, so that the counts always add up and a flood of made-up numbers does not push out
who is heard all the time.
"""

from collections import Counter
from collections.abc import Iterable

_KEPT, _SHOWN = 64, 16
OTHER, NAMELESS = "other", "nameless"


class Strangers:
    """Counts adverts that no profile understands.

    Parameters
    ----------
    kept : senders that are remembered
    """

    def __init__(self, kept: int = _KEPT) -> None:
        self._kept = kept
        self._counts: Counter[str] = Counter()
        self._other = 0

    def count(self, senders: Iterable[str]) -> None:
        """Count one advert.

        Parameters
        ----------
        senders : ``company:004c``, ``service:fcd2``, as `firmware_profiles.advert.sender_ids`
            names them; none = `nameless`
        """
        for sender in senders or (NAMELESS,):
            if sender not in self._counts and len(self._counts) >= self._kept:
                least = min(self._counts, key=self._counts.__getitem__)
                self._other += self._counts.pop(least)
            self._counts[sender] += 1

    def most(self, shown: int = _SHOWN) -> dict[str, int]:
        """Return who was heard most, and all others together.

        Parameters
        ----------
        shown : how many by name

        Returns
        -------
        adverts : by sender, most first; `other` where there are more
        """
        found = dict(self._counts.most_common(shown))
        other = self._other + self._counts.total() - sum(found.values())
        return {**found, OTHER: other} if other else found
