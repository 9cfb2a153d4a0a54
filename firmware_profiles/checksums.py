"""Checksums of serial frames, by name.

Rules of the file: every function takes the bytes covered and returns the bytes that
stand in the frame. Sources: sum, XOR and two's complement as in the frames'
data sheets (TFmini, RDM6300, PN532 UM0701-02); CRC-16 of the Modbus over serial line
specification V1.02, section 6.2.2 (polynomial 0xA001 reflected, initial 0xFFFF, low
byte first).
"""

from collections.abc import Callable
from functools import reduce
from operator import xor


def sum8(data: bytes) -> bytes:
    """Return the low 8 bits of the sum.

    Parameters
    ----------
    data : what is covered

    Returns
    -------
    One byte.

    Examples
    --------
    >>> sum8(bytes.fromhex("59595500b004fc08")).hex()
    'bf'
    """
    return bytes((sum(data) & 0xFF,))


def xor8(data: bytes) -> bytes:
    """Return the exclusive or of all bytes.

    Parameters
    ----------
    data : what is covered

    Returns
    -------
    One byte.

    Examples
    --------
    >>> xor8(bytes.fromhex("67003b51c6")).hex()
    'cb'
    """
    return bytes((reduce(xor, data, 0),))


def twos_complement8(data: bytes) -> bytes:
    """Return the byte that makes the sum zero modulo 256.

    Parameters
    ----------
    data : what is covered

    Returns
    -------
    One byte.

    Examples
    --------
    >>> twos_complement8(bytes.fromhex("d402")).hex()
    '2a'
    """
    return bytes((-sum(data) & 0xFF,))


def crc16_modbus(data: bytes) -> bytes:
    """Return the CRC of Modbus RTU, low byte first.

    Parameters
    ----------
    data : what is covered

    Returns
    -------
    Two bytes.

    Examples
    --------
    >>> crc16_modbus(bytes.fromhex("010300000002")).hex()
    'c40b'
    """
    crc = 0xFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC16[(crc ^ byte) & 0xFF]
    return crc.to_bytes(2, "little")


def _shifted(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ 0xA001 if byte & 1 else byte >> 1
    return byte


_CRC16 = tuple(map(_shifted, range(256)))
"""What each byte adds to the CRC: the eight steps of its bits at once."""


CHECKSUMS: dict[str, Callable[[bytes], bytes]] = {
    "sum8": sum8,
    "xor8": xor8,
    "twos_complement8": twos_complement8,
    "crc16-modbus": crc16_modbus,
}
CHECKSUM_SIZES = {name: len(function(b"\0")) for name, function in CHECKSUMS.items()}
