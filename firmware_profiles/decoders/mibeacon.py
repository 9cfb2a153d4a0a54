"""MiBeacon: Xiaomi's objects in service data FE95, plain or encrypted (version 4 and 5).

Rules of the file: only objects of which `vectors.json` or xiaomi-ble's tests give the
meaning; others are rejected as unknown. The frame counter of an encrypted advert is
part of its nonce and not reported. Source: xiaomi-ble 1.21 (layout, nonce, objects).
"""

from struct import unpack_from

from firmware_profiles.crypto import address_bytes, key_of, open_ccm
from firmware_profiles.decoded import Fields, Options, Refused

_ENCRYPTED, _MAC, _CAPABILITY, _OBJECT = 0x08, 0x10, 0x20, 0x40


def decode(body: bytes, options: Options) -> Fields:
    """Decode the service data of one advert."""
    if len(body) < 5:
        raise Refused("truncated")
    control, product, counter = unpack_from("<HHB", body)
    version = control >> 12
    fields: Fields = {"product_id": product}
    at, mac = 5, b""
    if control & _MAC:
        mac, at = body[at : at + 6][::-1], at + 6
        if len(mac) < 6:
            raise Refused("truncated")
        fields["mac"] = mac.hex(":").upper()
    if control & _CAPABILITY:
        if at >= len(body):
            raise Refused("truncated")
        at += 3 if body[at] & 0x20 else 1
    if not control & _OBJECT:
        raise Refused("empty")
    objects = body[at:]
    if control & _ENCRYPTED:
        if version < 4:
            raise Refused("unknown-frame")
        objects = _opened(body, objects, mac or address_bytes(options), options)
    else:
        fields["frame_counter"] = counter
    return fields | _objects(objects)


def _opened(body: bytes, sealed: bytes, mac: bytes, options: Options) -> bytes:
    key = key_of(options)
    if len(sealed) < 3 + 4 + 1:
        raise Refused("truncated")
    cipher, counter, tag = sealed[:-7], sealed[-7:-4], sealed[-4:]
    return open_ccm(key, mac[::-1] + body[2:5] + counter, cipher + tag, b"\x11")


def _objects(data: bytes) -> Fields:
    fields: Fields = {}
    at = 0
    while at + 3 <= len(data):
        kind, size = unpack_from("<HB", data, at)
        payload = data[at + 3 : at + 3 + size]
        if len(payload) < size:
            raise Refused("truncated")
        fields |= _object(kind, payload)
        at += 3 + size
    if not fields:
        raise Refused("unknown-object" if data else "empty")
    return fields


def _object(kind: int, payload: bytes) -> Fields:
    size = len(payload)
    if kind == 0x1004 and size == 2:
        return {"temperature_c": unpack_from("<h", payload)[0] / 10}
    if kind == 0x1006 and size == 2:
        return {"humidity_pct": unpack_from("<H", payload)[0] / 10}
    if kind == 0x100A and size == 1:
        return {"battery_pct": payload[0]}
    if kind == 0x100D and size == 4:
        temperature, humidity = unpack_from("<hH", payload)
        return {"temperature_c": temperature / 10, "humidity_pct": humidity / 10}
    if kind == 0x000F and size == 3:
        return {"motion": True, "light": bool(int.from_bytes(payload, "little"))}
    return {}
