"""When late rows are computed again, beside the live engine.

Rules of the file: one recomputation at a time; it catches up in a thread of its own and
is put in place in the engine's thread, between two steps.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any

from gateway.keeper import Keeper
from ingest.config import ConfigError

_LOG = logging.getLogger(__name__)
LOOK_S = 1.0


class LateWork:
    """Looks for late rows and has them computed again.

    Parameters
    ----------
    keeper : of the live engine
    in_engine : runs a function with arguments in the engine's thread
    is_stopping : ends a recomputation early; nothing is lost, the next start does it
    done : told after rows have changed
    """

    def __init__(
        self,
        keeper: Keeper,
        *,
        in_engine: Callable[..., Awaitable[Any]],
        is_stopping: Callable[[], bool],
        done: Callable[[], None],
    ) -> None:
        self._keeper = keeper
        self._in_engine = in_engine
        self._is_stopping = is_stopping
        self._done = done
        self._lock = asyncio.Lock()

    async def run(self, sleep: Callable[[float], Awaitable[bool]]) -> None:
        """Look now and then until told to stop.

        Parameters
        ----------
        sleep : waits some seconds and says whether to stop
        """
        while not await sleep(LOOK_S):
            if self._keeper.is_late_work_due():
                await self.compute()

    async def compute(self) -> None:
        """Compute again what late rows touch, now; nothing when there are none."""
        async with self._lock:
            keeper = self._keeper
            if keeper.driver.dirty_ns is None or keeper.is_finished:
                return
            again = None
            try:
                again = await self._in_engine(keeper.begin_again)
                whole = await asyncio.to_thread(again.catch_up, keeper.reached, self._is_stopping)
                if not whole or keeper.is_finished:
                    return
                replaced = await self._in_engine(keeper.swap, again)
            except (sqlite3.OperationalError, ConfigError, OSError) as error:
                _LOG.warning("late rows wait: the disk refuses to take them (%s)", error)
                return
            finally:
                keeper.give_up(again)
            _LOG.info(
                "late rows computed again: %d rows new or changed, %d gone%s",
                replaced.written,
                replaced.erased,
                "; some are older than anything kept and were left out" if again.too_late else "",
            )
            self._done()
