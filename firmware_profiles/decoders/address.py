"""Kinds of Bluetooth addresses (Core Specification, Vol 6 Part B, 1.3).

Rules of the file: public or random is what the radio said (`tx_add`), never guessed.
"""

from firmware_profiles.advert import address_kind
from firmware_profiles.decoded import Fields, Options, Refused


def decode(body: bytes, options: Options) -> Fields:
    """Return the kind of an address of 6 bytes, most significant first."""
    if len(body) != 6:
        raise Refused("bad-length")
    kind = options.get("tx_add")
    if kind not in ("public", "random"):
        raise Refused("bad-value")
    return {"address_type": address_kind(body, random=kind == "random")}
