"""Unique identifiers of NFC cards: anticollision answers, and readers over PC/SC.

Rules of the file: a single-size UID that begins with 08 is random (phones and some
cards) and `_random_uid` keeps it from becoming a tag. Sources: ISO 14443-3 section
6.5.4 (cascade tag 88, BCC), PC/SC part 3 section 3.2.2.1.3 (GET DATA).
"""

from firmware_profiles.checksums import xor8
from firmware_profiles.decoded import Fields, Options, Refused

CASCADE_TAG = 0x88
RANDOM_FIRST = 0x08
_RANDOM_TAG = "nfc:08"


def is_random(uid: bytes) -> bool:
    """Tell whether a UID is a random one.

    Parameters
    ----------
    uid : 4, 7 or 10 bytes

    Returns
    -------
    Whether it must not be used as identity.

    Examples
    --------
    >>> is_random(bytes.fromhex("08a1b2c3")), is_random(bytes.fromhex("04a1b2c3d4e5f6"))
    (True, False)
    """
    return len(uid) == 4 and uid[0] == RANDOM_FIRST


def is_random_tag(tag: str) -> bool:
    """Tell whether a tag is made of a random UID.

    Parameters
    ----------
    tag : any text

    Returns
    -------
    Whether it must not be used as identity.

    Examples
    --------
    >>> is_random_tag("nfc:08a1b2c3"), is_random_tag("nfc:08a1b2c3d4e5f6")
    (True, False)
    """
    return len(tag) == 12 and tag.startswith(_RANDOM_TAG)


def decode_anticollision(body: bytes, _options: Options) -> Fields:
    """Decode concatenated anticollision answers: 4 bytes and their BCC for each level."""
    uid, at = b"", 0
    for _level in range(3):
        part = body[at : at + 5]
        if len(part) < 5:
            raise Refused("truncated")
        if part[4:] != xor8(part[:4]):
            raise Refused("bad-checksum")
        at += 5
        if part[0] != CASCADE_TAG:
            uid += part[:4]
            break
        uid += part[1:4]
    else:
        raise Refused("bad-value")
    if at != len(body):
        raise Refused("too-long")
    random = is_random(uid)
    return {
        "uid_hex": uid.hex(),
        "uid_length_bytes": len(uid),
        "random_uid": random,
        "_random_uid": random,
    }


def decode_pcsc(body: bytes, _options: Options) -> Fields:
    """Decode the answer to GET DATA: the UID and the status word."""
    if len(body) < 2:
        raise Refused("truncated")
    uid, status = body[:-2], body[-2:].hex()
    if status != "9000":
        return {"status": "error", "sw": status}
    if len(uid) not in (4, 7, 10):
        raise Refused("bad-length")
    return {
        "uid_hex": uid.hex(),
        "uid_length_bytes": len(uid),
        "sw": status,
        "_random_uid": is_random(uid),
    }
