"""Lines of the bridges that hand on what a Wiegand reader says: hex digits, or its bits.

Rules of the file: the fields are those of the profile `wiegand`, so that a card has one tag
at all of them. A bridge that sends hex has checked and dropped the parity; of bits it is
checked here. Sources: the data sheet of WIE232-A (XXYYZZ and a carriage return); the usual
26 and 34 bit formats (even parity over the first half, odd over the second).
"""

from struct import unpack

from firmware_profiles.decoded import Fields, Options, Refused

_PLACES = {3: ">BH", 4: ">HH"}
"""Facility code and card number, by the number of data bytes: 26 and 34 bits."""


def decode_hex(body: bytes, _options: Options) -> Fields:
    """Decode a line of 6 or 8 hex digits, the data bits without parity."""
    digits = body.strip(b" ")
    if len(digits) not in (6, 8):
        raise Refused("bad-length")
    if not digits.isalnum():
        raise Refused("bad-line")  # int() would take an underscore or a sign
    try:
        return _fields(int(digits, 16).to_bytes(len(digits) // 2))
    except ValueError:
        raise Refused("bad-line") from None


def decode_bits(body: bytes, _options: Options) -> Fields:
    """Decode a line of 26 or 34 digits 0 and 1, first bit first, parity included."""
    bits = body.strip(b" ")
    if bits.strip(b"01"):
        raise Refused("bad-line")
    if len(bits) not in (26, 34):
        raise Refused("bad-length")
    half = len(bits) // 2
    if bits[:half].count(b"1") % 2 or not bits[half:].count(b"1") % 2:
        raise Refused("bad-parity")
    return _fields(int(bits[1:-1], 2).to_bytes((len(bits) - 2) // 8))


def _fields(data: bytes) -> Fields:
    facility, card = unpack(_PLACES[len(data)], data)
    return {
        "bits": len(data) * 8 + 2,
        "data_hex": data.hex(),
        "facility_code": facility,
        "card_number": card,
        "_number": int.from_bytes(data),
    }
