"""What an agent says of itself in ``A/status``.

Rules of the file: counters and bounded words only; never an identity.
"""

import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

_PARTS = ("boot", "sources", "outbox", "dropped", "disk", "clock")


def encode_status(state: str, health: dict[str, Any]) -> bytes:
    """Return the payload.

    Parameters
    ----------
    state : "online" or "offline"
    health : of the agent
    """
    versions = {"fanous": _version(), "python": sys.version.split()[0]}
    parts = {name: health[name] for name in _PARTS}
    return msgspec.json.encode({"state": state, "versions": versions, **parts})


@cache
def _version() -> str:
    try:
        return version("fanous")
    except PackageNotFoundError:
        return "0"
