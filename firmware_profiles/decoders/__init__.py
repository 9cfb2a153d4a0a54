"""The few decoders that cannot be data, by name.

Rules of the file: a profile names one of these; it cannot name any other Python. Each
is `decode(body, options) -> fields`, raises `Refused` and nothing else, and may have an
`encode(fields) -> bytes` beside it.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from firmware_profiles.decoded import Fields, Options

DECODERS = {
    "ble_address": "firmware_profiles.decoders.address",
    "estimote": "firmware_profiles.decoders.estimote",
    "iso14443a": "firmware_profiles.decoders.nfc:anticollision",
    "mibeacon": "firmware_profiles.decoders.mibeacon",
    "modbus": "firmware_profiles.decoders.modbus",
    "ntag424_sun": "firmware_profiles.decoders.ntag424",
    "pcsc_uid": "firmware_profiles.decoders.nfc:pcsc",
    "pn532": "firmware_profiles.decoders.pn532",
    "wiegand_bits": "firmware_profiles.decoders.wiegand:bits",
    "wiegand_hex": "firmware_profiles.decoders.wiegand:hex",
}


def load_decoder(name: str) -> Callable[[bytes, Options], Fields]:
    """Return the decoder of that name.

    Parameters
    ----------
    name : a key of `DECODERS`

    Returns
    -------
    A function from body and options to fields.
    """
    module, _, prefix = DECODERS[name].partition(":")
    decode: Callable[[bytes, Options], Fields] = getattr(
        import_module(module), f"decode_{prefix}" if prefix else "decode"
    )
    return decode


def load_encoder(name: str) -> Callable[[Mapping[str, Any]], bytes]:
    """Return the encoder of that name.

    Parameters
    ----------
    name : a key of `DECODERS`

    Returns
    -------
    A function from fields to a body.

    Raises
    ------
    ValueError
        This decoder only decodes.
    """
    module, _, prefix = DECODERS[name].partition(":")
    found = getattr(import_module(module), f"encode_{prefix}" if prefix else "encode", None)
    if found is None:
        raise ValueError(f"decoder '{name}' only decodes")
    encode: Callable[[Mapping[str, Any]], bytes] = found
    return encode
