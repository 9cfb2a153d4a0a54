"""Waiting in a loop for what another thread does."""

import asyncio
from collections.abc import Callable


async def until(holds: Callable[[], bool], *, timeout_s: float = 20.0) -> None:
    """Poll until something holds."""
    async with asyncio.timeout(timeout_s):
        while not holds():  # noqa: ASYNC110 (nobody tells)
            await asyncio.sleep(0.01)
