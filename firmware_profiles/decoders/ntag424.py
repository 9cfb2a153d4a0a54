"""NTAG 424 DNA: the address that a card makes anew each time it is read (Secure Unique NFC).

Rules of the file: nothing of a message is believed before its code was verified, which takes
a time that does not depend on where codes differ. A counter that does not rise is for the
caller to refuse, who can remember. AES mode alone; the LRP mode of the chip is refused.
Sources: NXP AN12196 (sections on SDM, with the examples of the tests), NT4H2421Gx data
sheet (section 9.3).

A message is any line with a query. Names of its parameters: `picc_data` or `e` (UID and
counter, encrypted), or `uid` and `ctr` in plain; `cmac` or `c` (the code); `enc` (a part of
the card's file, encrypted). The code is over nothing where there is no `enc`
(SDMMACInputOffset = SDMMACOffset), else over the text from the value of `enc` up to the
value of `cmac` (SDMMACInputOffset = SDMENCOffset).
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from firmware_profiles.crypto import aes_cbc, aes_cmac, is_same
from firmware_profiles.decoded import Fields, Options, Proof, Refused

SCHEME = "ntag424-sun"
META_KEY, FILE_KEY = "meta", "file"
_ZERO = bytes(16)
_PICC_TAG = 0xC7  # UID is mirrored, counter is mirrored, the UID has 7 bytes
_MAC_VECTOR = bytes.fromhex("3cc300010080")
_FILE_VECTOR = bytes.fromhex("c33c00010080")
_NAMES = {"picc_data": "picc", "e": "picc", "cmac": "mac", "c": "mac", "enc": "enc"}
_NAMES |= {"uid": "uid", "ctr": "ctr"}
_PARAMETER = re.compile(r"[?&]([A-Za-z_]{1,16})=([0-9A-Fa-f]{0,256})(?=[&#]|$)")
_DIGITS = {"picc": (32,), "uid": (14,), "ctr": (6,), "mac": (16,)}
_LRP_DIGITS = 48


class _Message(NamedTuple):
    """What a line says: bytes by name, and the text that its code is over."""

    parts: dict[str, bytes]
    covered: bytes


def decode(body: bytes, options: Options) -> Fields:
    """Verify one message.

    Parameters
    ----------
    body : a line without its end
    options : `keys`, a mapping of names to 16 bytes: the card's UID in hex or `file` for
        SDMFileReadKey, `meta` for SDMMetaReadKey; or `key`, one for both

    Returns
    -------
    `uid_hex`, `read_counter`, `mirror` (encrypted, plain), perhaps `file_data_hex`.
    """
    parts, covered = _read(body)
    if "picc" in parts:
        uid, counter = _opened(parts["picc"], _key(options, META_KEY))
    else:
        uid, counter = parts["uid"], parts["ctr"][::-1]
    key = _key(options, uid.hex(), FILE_KEY)
    if not is_same(sun_mac(key, uid, counter, covered), parts["mac"]):
        raise Refused("not-authentic")
    fields: Fields = {
        "uid_hex": uid.hex(),
        "read_counter": int.from_bytes(counter, "little"),
        "mirror": "encrypted" if "picc" in parts else "plain",
        "_proof": Proof(SCHEME),
    }
    if "enc" in parts:
        fields["file_data_hex"] = file_data(key, uid, counter, parts["enc"]).hex()
    return fields


def sun_mac(key: bytes, uid: bytes, counter: bytes, covered: bytes) -> bytes:
    """Return the code of a message (SDMMAC).

    Parameters
    ----------
    key : SDMFileReadKey, 16 bytes
    uid : 7 bytes
    counter : SDMReadCtr, 3 bytes, least significant first
    covered : what it is over, as mirrored

    Returns
    -------
    8 bytes: every second one of the AES-CMAC under the session key.

    Examples
    --------
    >>> uid, counter = bytes.fromhex("04de5f1eacc040"), bytes.fromhex("3d0000")
    >>> sun_mac(bytes(16), uid, counter, b"").hex()
    '94eed9ee65337086'
    """
    session = aes_cmac(key, _MAC_VECTOR + uid + counter)
    return aes_cmac(session, covered)[1::2]


def file_data(key: bytes, uid: bytes, counter: bytes, sealed: bytes) -> bytes:
    """Return the mirrored part of the card's file in plain (SDMENCFileData).

    Parameters
    ----------
    key : SDMFileReadKey, 16 bytes
    uid : 7 bytes
    counter : SDMReadCtr, 3 bytes, least significant first
    sealed : whole blocks of 16 bytes

    Returns
    -------
    As many bytes, padding included.
    """
    session = aes_cmac(key, _FILE_VECTOR + uid + counter)
    start = aes_cbc(session, _ZERO, counter.ljust(16, b"\0"), encrypts=True)
    return aes_cbc(session, start, sealed)


def file_key(options: Options, uid_hex: str) -> bytes:
    """Return the key under which a card's messages are verified.

    Parameters
    ----------
    options : as of `decode`
    uid_hex : of the card, as decoded

    Returns
    -------
    16 bytes.
    """
    return _key(options, uid_hex, FILE_KEY)


def _read(body: bytes) -> _Message:
    if not body.isascii():
        raise Refused("bad-line")
    text = body.decode("ascii")
    if not text.isprintable() or "?" not in text:
        raise Refused("bad-line")
    parts: dict[str, bytes] = {}
    begins: dict[str, int] = {}
    for found in _PARAMETER.finditer(text, text.index("?")):
        name = _NAMES.get(found[1])
        if name is None:
            continue
        if name in parts:
            raise Refused("bad-line")  # which of the two would be the card's?
        parts[name], begins[name] = _bytes(name, found[2]), found.start(2)
    if "mac" not in parts or ("picc" in parts) == ({"uid", "ctr"} <= parts.keys()):
        raise Refused("bad-line")
    if ("uid" in parts) != ("ctr" in parts):
        raise Refused("bad-line")
    if "enc" not in parts:
        return _Message(parts, b"")
    if begins["enc"] > begins["mac"]:
        raise Refused("bad-line")
    return _Message(parts, body[begins["enc"] : begins["mac"]])


def _bytes(name: str, digits: str) -> bytes:
    if name == "picc" and len(digits) == _LRP_DIGITS:
        raise Refused("unknown-frame")
    is_right = len(digits) in _DIGITS[name] if name in _DIGITS else len(digits) % 32 == 0
    if not digits or not is_right:
        raise Refused("bad-length")
    return bytes.fromhex(digits)


def _opened(sealed: bytes, key: bytes) -> tuple[bytes, bytes]:
    plain = aes_cbc(key, _ZERO, sealed)
    if plain[0] != _PICC_TAG:
        raise Refused("not-authentic")  # another key, or another card
    return plain[1:8], plain[8:11]


def _key(options: Options, *names: str) -> bytes:
    keys = options.get("keys")
    found = (
        [keys.get(name) for name in names] if isinstance(keys, Mapping) else [options.get("key")]
    )
    key = next((key for key in found if key is not None), None)
    if not isinstance(key, bytes) or len(key) != 16:
        raise Refused("no-key")
    return key
