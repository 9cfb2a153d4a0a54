"""Encrypted and authenticated messages: the named schemes, with the key given by the caller.

Rules of the file: a key never stands in a profile and is never kept here. AES comes from
the `cryptography` package, imported when the first such message with a key is seen; where
it is missing the message is refused as `no-crypto`. Replay of old counters is the caller's
to refuse (`dedupe`, `edge.tap_counters`), since this room keeps no state. Sources: BTHome
v2 encryption page and bthome-ble 3.25 tests; MiBeacon v5 as in xiaomi-ble; RFC 4493
(AES-CMAC).
"""

import hmac
from collections.abc import Callable, Mapping
from typing import Any

from firmware_profiles.decoded import Fields, Options, Refused

MIC_BYTES = 4


def open_ccm(key: bytes, nonce: bytes, sealed: bytes, aad: bytes | None) -> bytes:
    """Open AES-CCM with a tag of 4 bytes.

    Parameters
    ----------
    key : 16 bytes
    nonce : 7 to 13 bytes
    sealed : cipher text, then the tag
    aad : what is authenticated but not encrypted

    Returns
    -------
    The plain text.
    """
    try:
        from cryptography.exceptions import InvalidTag  # type: ignore[import-not-found,unused-ignore]
        from cryptography.hazmat.primitives.ciphers.aead import (  # type: ignore[import-not-found,unused-ignore]
            AESCCM,
        )
    except ImportError:
        raise Refused("no-crypto") from None
    try:
        return bytes(AESCCM(key, tag_length=MIC_BYTES).decrypt(nonce, sealed, aad))
    except (InvalidTag, ValueError):
        raise Refused("not-authentic") from None


def aes_cmac(key: bytes, message: bytes) -> bytes:
    """Return the AES-CMAC of a message.

    Parameters
    ----------
    key : 16 bytes
    message : of any length

    Returns
    -------
    16 bytes.

    Examples
    --------
    >>> aes_cmac(bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c"), b"").hex()
    'bb1d6929e95937287fa37d129b756746'
    """
    try:
        from cryptography.hazmat.primitives.ciphers.algorithms import (  # type: ignore[import-not-found,unused-ignore]
            AES,
        )
        from cryptography.hazmat.primitives.cmac import (  # type: ignore[import-not-found,unused-ignore]
            CMAC,
        )
    except ImportError:
        raise Refused("no-crypto") from None
    mac = CMAC(AES(key))
    mac.update(message)
    return bytes(mac.finalize())


def aes_cbc(key: bytes, start: bytes, data: bytes, *, encrypts: bool = False) -> bytes:
    """Return whole blocks decrypted, or encrypted, by AES-CBC without padding.

    Parameters
    ----------
    key : 16 bytes
    start : the initial vector, 16 bytes
    data : whole blocks of 16 bytes
    encrypts : the other direction

    Returns
    -------
    As many bytes.
    """
    try:
        from cryptography.hazmat.primitives.ciphers import (  # type: ignore[import-not-found,unused-ignore]
            Cipher,
            algorithms,
            modes,
        )
    except ImportError:
        raise Refused("no-crypto") from None
    cipher = Cipher(algorithms.AES(key), modes.CBC(start))
    worker = cipher.encryptor() if encrypts else cipher.decryptor()
    return bytes(worker.update(data) + worker.finalize())


def is_same(one: bytes, other: bytes) -> bool:
    """Tell whether two codes are equal, in a time that does not say where they differ."""
    return hmac.compare_digest(one, other)


def proof_of(table: Mapping[str, Any]) -> str | None:
    """Return the scheme by which a profile's messages prove themselves, None if they do not.

    Parameters
    ----------
    table : the tables of the profile, checked by `form.check_form`

    Returns
    -------
    A key of `PROOFS`.

    Examples
    --------
    >>> proof_of({"profile": {"decoder": "pn532"}}) is None
    True
    """
    scheme: str | None = table.get("crypto", {}).get("scheme")
    return scheme if scheme in PROOFS else None


def key_of(options: Options) -> bytes:
    """Return the 16 bytes of `options["key"]`, refusing the message if there is none."""
    key = options.get("key")
    if not isinstance(key, bytes) or len(key) != 16:
        raise Refused("no-key")
    return key


def address_bytes(options: Options) -> bytes:
    """Return the 6 bytes of `options["address"]`, most significant first."""
    text = str(options.get("address") or "")
    try:
        address = bytes.fromhex(text.replace(":", ""))
    except ValueError:
        address = b""
    if len(address) != 6:
        raise Refused("no-key")
    return address


def open_bthome_v2(body: bytes, options: Options, fields: Fields) -> bytes:
    """Open the service data of BTHome v2 and return it as if it had not been encrypted.

    Parameters
    ----------
    body : device information byte, perhaps the address reversed, cipher, counter, tag
    options : `key` (16 bytes) and `address` (text), which the address in the body overrules
    fields : takes `encryption_counter`

    Returns
    -------
    Device information byte with the encryption bit cleared, address, objects.
    """
    key = key_of(options)
    at = 7 if body[0] & 0x02 else 1
    if len(body) < at + 4 + MIC_BYTES:
        raise Refused("truncated")
    address = body[6:0:-1] if at == 7 else address_bytes(options)
    counter = body[-8:-4]
    nonce = address + b"\xd2\xfc" + body[:1] + counter
    plain = open_ccm(key, nonce, body[at:-8] + body[-4:], None)
    fields["encryption_counter"] = int.from_bytes(counter, "little")
    return bytes((body[0] & 0xFE,)) + body[1:at] + plain


SCHEMES: dict[str, Callable[[bytes, Options, Fields], bytes]] = {
    "bthome-v2-ccm": open_bthome_v2,
}

PROOFS: dict[str, str] = {
    "ntag424-sun": "ntag424_sun",
}
"""Schemes that prove who sent a message, and the decoder that verifies each. A proof of
that kind has in its fields `uid_hex` and `read_counter`, which must rise."""
