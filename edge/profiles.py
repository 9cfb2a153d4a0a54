"""The profiles that an agent knows: those of the program, and files of the shop's own.

Rules of the file: a file that cannot be read is a `ConfigError`; one that is not a good
profile is refused and said so with file, line and key, and all others load. What a refused
file describes is then unknown, also where the program has a profile of that name: a source
that names it does not get another one than its owner wrote.
"""

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from firmware_profiles.registry import Registry, load_registry
from ingest.config import ConfigError

_BYTES_MAX = 1 << 20
_ID = re.compile(r'(?m)^\s*id\s*=\s*["\']([a-z0-9_]{1,48})["\']')
log = logging.getLogger("fanous.edge.profiles")


def read_profiles(paths: Sequence[str]) -> Registry:
    """Load the program's profiles and further ones.

    Parameters
    ----------
    paths : of TOML files, absolute; of two with one id the second is refused, one with the id of
        a profile of the program replaces it

    Returns
    -------
    registry : all that loaded; each refused file was logged

    Raises
    ------
    ConfigError
        A file cannot be read, or is named twice.
    """
    texts: dict[str, str] = {}
    for path in paths:
        if path in texts:
            raise ConfigError(f"profiles: expected each file once, got {path} again")
        texts[path] = _text(path)
    registry = load_registry(texts)
    for message in registry.errors:
        log.warning("refused profile: %s", message)
    refused = {
        name
        for path, text in texts.items()
        if any(message.startswith(f"{path}:") for message in registry.errors)
        for name in _ID.findall(text)[:1]
    }
    return registry.without(refused) if refused else registry


def _text(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            data = file.read(_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"profiles: {path}: cannot be read ({error.strerror})") from error
    if len(data) > _BYTES_MAX:
        raise ConfigError(f"profiles: {path}: expected at most {_BYTES_MAX} bytes, got more")
    return data.decode("utf-8", "replace")
