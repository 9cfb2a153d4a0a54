"""Estimote telemetry: fields packed across byte borders, durations with their own units.

Rules of the file: lengths are checked by the match; sub-frame A is motion, B the rest.
Source: Estimote's published telemetry parser, as checked in `vectors.json`.
"""

from struct import unpack_from

from firmware_profiles.decoded import Fields, Options, Refused

_UNIT_S = (1, 60, 3600, 86400)
_WEEK_S = 604800


def decode(body: bytes, _options: Options) -> Fields:
    """Decode one telemetry packet of 20 bytes."""
    if len(body) < 20:
        raise Refused("truncated")
    version, frame = body[0] >> 4, body[9] & 0x03
    if body[0] & 0x0F != 2 or version > 2 or frame > 1:
        raise Refused("unknown-frame")
    fields: Fields = {"protocol_version": version, "short_id_hex": body[1:9].hex()}
    return fields | (_motion(body, version) if frame == 0 else _environment(body, version))


def _motion(body: bytes, version: int) -> Fields:
    x, y, z = (round(count * 2 / 127, 4) for count in unpack_from("3b", body, 10))
    fields: Fields = {
        "frame": "A",
        "acceleration_x_g": x,
        "acceleration_y_g": y,
        "acceleration_z_g": z,
        "previous_motion_state_duration_s": _duration_s(body[13]),
        "motion_state_duration_s": _duration_s(body[14]),
        "moving": body[15] & 0x03 == 1,
    }
    if version == 2:
        (raw,) = unpack_from("<I", body, 16)
        fields["pressure_pa"] = None if raw == 0xFFFFFFFF else raw / 256
    return fields


def _environment(body: bytes, version: int) -> Fields:
    light, uptime_high = body[13], body[15]
    uptime = (uptime_high & 0x0F) << 8 | body[14]
    temperature = (body[17] & 0x03) << 10 | body[16] << 2 | uptime_high >> 6
    battery_mv = body[18] << 6 | body[17] >> 2
    fields: Fields = {
        "frame": "B",
        "ambient_light_lx": None
        if light == 0xFF
        else round((1 << (light >> 4)) * (light & 0x0F) * 0.72, 2),
        "uptime_s": uptime * _UNIT_S[uptime_high >> 4 & 0x03],
        "temperature_c": (temperature - 4096 if temperature > 2047 else temperature) / 16,
        "battery_mv": None if battery_mv == 0x3FFF else battery_mv,
    }
    if version > 0:
        fields["battery_pct"] = None if body[19] == 0xFF else body[19]
    return fields


def _duration_s(byte: int) -> int:
    number, unit = byte & 0x3F, byte >> 6
    if unit == 3 and number >= 32:
        return (number - 32) * _WEEK_S
    return number * _UNIT_S[unit]
