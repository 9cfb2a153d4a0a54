"""Whole messages for the simulator: an advert, a frame, a line, or bits, from fields.

Rules of the file: only what the profile says; a profile with a Python decoder is
written by that decoder's own `encode`, if it has one.
"""

import struct
from collections.abc import Mapping
from typing import Any

from firmware_profiles.advert import MANUFACTURER, SERVICE_DATA16, build_advert
from firmware_profiles.compile import Profile, layout_of
from firmware_profiles.decoders import load_encoder
from firmware_profiles.encoder import write_layout
from firmware_profiles.framers import OK, FrameForm
from firmware_profiles.lines import write_line


def write_message(profile: Profile, fields: Mapping[str, object]) -> bytes:
    """Return the bytes that a device of this profile would send for these fields.

    Parameters
    ----------
    profile : of the device
    fields : as decoded

    Returns
    -------
    An advert with flags, a frame, a line with its end, or a record.

    Raises
    ------
    ValueError
        The fields cannot be sent by this device, or its profile only decodes.
    """
    try:
        return _written(profile, fields)
    except (KeyError, IndexError, TypeError, AttributeError, OverflowError, struct.error) as error:
        names = ", ".join(sorted(map(str, fields)))
        raise ValueError(f"profile '{profile.id}' cannot send the fields {names}") from error


def _written(profile: Profile, fields: Mapping[str, Any]) -> bytes:
    table = profile.table
    decoder = table["profile"].get("decoder")
    if "line" in table:
        return write_line(table["line"], fields)
    if profile.bits is not None:
        return profile.bits.write(fields)[0]
    for frame in table.get("frame", []):
        for special in frame.get("special", []):
            if special["set"] == fields:
                return bytes.fromhex(special["bytes"])
    if decoder is not None:
        body = load_encoder(decoder)(fields)
    else:
        body = bytes(write_layout(layout_of(table), fields, _begun(profile)))
    if profile.frames:
        return _frame(profile.frames, body)
    return _advert(profile, fields, body) if "match" in table else body


def _frame(forms: tuple[FrameForm, ...], body: bytes) -> bytes:
    """Build the frame of a body: a form of just its length, else one that says its length."""
    fixed = [form for form in forms if form.length is not None]
    if len(forms) > 1:
        fixed = [form for form in fixed if form.length == len(body) + form.tail]
    for form in (*fixed, *(form for form in forms if form.length is None)):
        frame = form.build(body)
        if form.judge(frame)[0] == OK:
            return frame
    raise ValueError(f"no frame can hold these {len(body)} bytes")


def _begun(profile: Profile) -> bytearray:
    match = profile.table.get("match", {})
    if match:
        return bytearray.fromhex(match.get("prefix", ""))
    frame = profile.frames[0] if profile.frames else None
    return bytearray(frame.start if frame and not frame.is_hex else b"")


def _advert(profile: Profile, fields: Mapping[str, Any], body: bytes) -> bytes:
    match = profile.table["match"]
    body = body.ljust(match.get("length", match.get("min_length", 0)), b"\0")
    structures: list[tuple[int, bytes]] = []
    if "service_list" in match:
        structures.append((0x03, match["service_list"].to_bytes(2, "little")))
    if "service_uuid" in match:
        uuid = match["service_uuid"].to_bytes(2, "little")
        structures.append((SERVICE_DATA16, uuid + body))
    else:
        company = fields.get(match.get("company_field", ""), match.get("company_id", 0xFFFF))
        if not isinstance(company, int):
            raise ValueError(f"expected a company number, got {company!r}")
        structures.append((MANUFACTURER, company.to_bytes(2, "little") + body))
    if "name" in match:
        plain = match["name"].replace("*", "").replace("?", "X")
        name = fields.get(match.get("name_field", ""), plain)
        structures.append((0x09, str(name).encode()))
    return build_advert(*structures)
