"""Messages that prove themselves wait here until the disk has their counters.

Rules of the file: the event loop never waits for the disk; a thread asks `TapCounters`, all
waiting messages in one commit. The queue has a size: what does not fit is refused and
counted, and so is everything while the disk refuses. No tap is handed on that is not on the
disk.
"""

import asyncio
import logging
import sqlite3
from collections import Counter, deque
from collections.abc import Callable
from typing import NamedTuple

from edge.measurement import Measurement
from edge.tap_counters import TapCounters

WAITING_MAX = 256
log = logging.getLogger("fanous.edge.serial")


class Claim(NamedTuple):
    """A verified message; `settle` is told whether it is new and returns what to hand on."""

    card: bytes
    counter: int
    settle: Callable[[bool], list[Measurement]]


class Proofs:
    """Settles claims in the order they came.

    Parameters
    ----------
    counters : the memory
    give : takes the measurements of what is new
    dropped : counts what is refused: ``proofs_full``, ``counters_unusable``
    """

    def __init__(
        self,
        counters: TapCounters,
        give: Callable[[list[Measurement]], None],
        dropped: Counter[str],
    ) -> None:
        self._counters = counters
        self._give = give
        self._dropped = dropped
        self._waiting: deque[Claim] = deque()
        self._some = asyncio.Event()
        self._troubled = False

    def put(self, claim: Claim) -> None:
        """Take a claim; at once.

        Parameters
        ----------
        claim : of a message that was verified
        """
        if len(self._waiting) >= WAITING_MAX:
            self._dropped["proofs_full"] += 1
            return
        self._waiting.append(claim)
        self._some.set()

    async def run(self) -> None:
        """Settle claims until cancelled."""
        try:
            while True:
                await self._some.wait()
                self._some.clear()
                claims = list(self._waiting)
                self._waiting.clear()
                for claim, is_new in zip(claims, await self._asked(claims), strict=False):
                    if measurements := claim.settle(is_new):
                        self._give(measurements)
        finally:
            self._counters.close()  # a thread that is still at it ends first

    async def _asked(self, claims: list[Claim]) -> list[bool]:
        """Return what the memory says; nothing if it cannot be used."""
        asked = [(claim.card, claim.counter) for claim in claims]
        try:
            new = await asyncio.to_thread(self._counters.admit, asked)
        except (sqlite3.Error, OSError) as error:
            self._dropped["counters_unusable"] += len(claims)
            if not self._troubled:
                self._troubled = True
                log.warning(
                    "counters of cards cannot be kept (%s); taps that prove themselves are "
                    "refused until they can",
                    error,
                )
            return []
        if self._troubled:
            self._troubled = False
            log.info("counters of cards can be kept again")
        return new
