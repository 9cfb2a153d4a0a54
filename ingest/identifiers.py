"""The grammar of names, tags and pseudonyms, and how a tag becomes a pseudonym.

Rules of the file: standard library only (the edge agent uses it); every name
that comes from outside passes here before it is used in a topic, a path or a key.
"""

import base64
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from ingest.config import ConfigError

NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
PSEUDONYM = re.compile(r"p_[a-z2-7]{16}")
PSEUDONYM_LENGTH = 18
_PSEUDONYMS = re.compile(r"(?:p_[a-z2-7]{16})*")
_TAG = re.compile(
    r"ble:[0-9a-f]{12}"
    r"|ibeacon:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}-[0-9]{1,5}-[0-9]{1,5}"
    r"|eddystone:[0-9a-f]{20}-[0-9a-f]{12}"
    r"|altbeacon:[0-9a-f]{40}"
    r"|nfc:(?:[0-9a-f]{2}){4,10}"
    r"|em4100:[0-9a-f]{10}"
    r"|wiegand:[0-9]{1,20}"
    r"|name:[a-z0-9]+(?:-[a-z0-9]+)*"
)
TAG_LENGTH_MAX = 64
KEY_BYTES_LEAST, KEY_BYTES_MOST = 16, 64


def is_name(text: str) -> bool:
    """Tell whether a text may name a store, agent, receiver, sensor, zone, shelf or tap point."""
    return NAME.fullmatch(text) is not None


def is_pseudonym(text: str) -> bool:
    """Tell whether a text is a pseudonym: ``p_`` and 16 lower-case base32 characters."""
    return PSEUDONYM.fullmatch(text) is not None


def are_pseudonyms(texts: Sequence[str]) -> bool:
    """Tell whether all texts are pseudonyms; several times faster than one by one.

    Parameters
    ----------
    texts : any

    Examples
    --------
    >>> are_pseudonyms(["p_abcdefghijklmnop", "p_qrstuvwxyz234567"])
    True
    >>> are_pseudonyms(["p_abcdefghijklmno", "pp_qrstuvwxyz234567"])
    False
    """
    # Of texts of the right length each must begin where the pattern begins again.
    return {*map(len, texts)} <= {PSEUDONYM_LENGTH} and (
        _PSEUDONYMS.fullmatch("".join(texts)) is not None
    )


def is_tag(text: str) -> bool:
    """Tell whether a text is a raw tag, ``<scheme>:<value>`` in lower case.

    Examples
    --------
    >>> is_tag("ble:b0b0b0b0b0b0"), is_tag("BLE:B0B0B0B0B0B0")
    (True, False)
    """
    return len(text) <= TAG_LENGTH_MAX and _TAG.fullmatch(text) is not None


def pseudonym(tag: str, key: bytes) -> str:
    """Return the pseudonym of a tag under a store's key; a pseudonym passes unchanged.

    Parameters
    ----------
    tag : a raw tag or a pseudonym
    key : 16 to 64 bytes, one per store

    Notes
    -----
    BLAKE2b (RFC 7693) keyed, digest of 10 bytes, in base32 (RFC 4648) lower case:
    80 bits fill the 16 characters without padding.

    Examples
    --------
    >>> pseudonym("p_abcdefghijklmnop", b"0123456789abcdef")
    'p_abcdefghijklmnop'
    """
    if is_pseudonym(tag):
        return tag
    digest = hashlib.blake2b(tag.encode(), digest_size=10, key=key).digest()
    return "p_" + base64.b32encode(digest).decode().lower()


def read_key_file(path: Path) -> bytes:
    """Read a pseudonym key: the 16 to 64 bytes of a file.

    Parameters
    ----------
    path : the key file

    Raises
    ------
    ConfigError
        The file cannot be read, or does not hold 16 to 64 bytes.
    """
    remedy = f"make one with: head -c 32 /dev/urandom > {path}"
    try:
        with open(path, "rb") as file:
            key = file.read(KEY_BYTES_MOST + 1)
    except OSError as error:
        raise ConfigError(
            f"key file {path}: cannot be read ({error.strerror}); {remedy}"
        ) from error
    if not KEY_BYTES_LEAST <= len(key) <= KEY_BYTES_MOST:
        got = "more" if len(key) > KEY_BYTES_MOST else str(len(key))
        raise ConfigError(
            f"key file {path}: expected {KEY_BYTES_LEAST} to {KEY_BYTES_MOST} bytes, got {got}; "
            f"{remedy}"
        )
    return key


def store_key(store_id: str) -> bytes:
    """Return the stand-in key of a store without a key file: its id.

    Commands that use it say so; it protects nobody from a person who knows the store's name.
    """
    return store_id.encode()[:64]
