"""What stands in the frames of a PN532: commands and responses.

Rules of the file: frames and checksums are the profile's; here is what the codes mean
that a tap point uses. Source: NXP UM0701-02, sections 7.2.2 and 7.3.5.
"""

from collections.abc import Mapping
from typing import Any

from firmware_profiles.decoded import Fields, Options, Refused
from firmware_profiles.decoders.nfc import is_random

_TO_READER, _FROM_READER, _FAULT = 0xD4, 0xD5, 0x7F
_FIRMWARE, _TARGETS = 0x03, 0x4B


def decode(body: bytes, _options: Options) -> Fields:
    """Decode one frame, from its start to the byte before the final zero."""
    data = body[5:-2]
    if data == bytes((_FAULT,)):
        return {"type": "error"}
    if len(data) < 2 or data[0] not in (_TO_READER, _FROM_READER):
        raise Refused("unknown-frame")
    payload = data[2:]
    is_command = data[0] == _TO_READER
    fields: Fields = {
        "type": "command" if is_command else "response",
        "code": data[1],
        "payload_hex": payload.hex(),
    }
    if not is_command and data[1] == _FIRMWARE:
        if len(payload) != 4:
            raise Refused("bad-length")
        firmware = f"{payload[1]}.{payload[2]}"
        fields |= {"ic": payload[0], "firmware": firmware, "support": payload[3]}
    elif not is_command and data[1] == _TARGETS:
        fields |= _targets(payload)
    return fields


def encode(fields: Mapping[str, Any]) -> bytes:
    """Return start, lengths and data of a frame, without its last checksum.

    Parameters
    ----------
    fields : `type`, `code` and `payload_hex`; or `uid_hex` alone, for a card that was found

    Returns
    -------
    The body.

    Raises
    ------
    ValueError
        A field is missing.
    """
    if "uid_hex" in fields and "payload_hex" not in fields:
        uid = bytes.fromhex(fields["uid_hex"])
        payload = b"\x01\x01\x00\x04\x08" + bytes((len(uid),)) + uid
        return b"\0\0\xff\0\0" + bytes((_FROM_READER, _TARGETS)) + payload
    try:
        direction = _TO_READER if fields["type"] == "command" else _FROM_READER
        data = bytes((direction, fields["code"])) + bytes.fromhex(fields["payload_hex"])
    except KeyError as error:
        raise ValueError(f"field {error} is missing") from error
    return b"\0\0\xff\0\0" + data


def _targets(payload: bytes) -> Fields:
    if not payload:
        raise Refused("truncated")
    if payload[0] == 0:
        return {"targets": 0}
    if len(payload) < 6 or len(payload) < 6 + payload[5]:
        raise Refused("truncated")
    uid = payload[6 : 6 + payload[5]]
    return {
        "targets": payload[0],
        "atqa_hex": payload[2:4].hex(),
        "sak": payload[4],
        "uid_hex": uid.hex(),
        "uid_length_bytes": len(uid),
        "_random_uid": is_random(uid) or len(uid) not in (4, 7, 10),
    }
