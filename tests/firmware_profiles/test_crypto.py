"""Encrypted adverts: nonce, layout, keys; against AES-CCM in plain Python."""

import sys

import pytest

from firmware_profiles import crypto
from firmware_profiles.decoded import Decoded, Refused, Rejected
from firmware_profiles.decoders import mibeacon
from firmware_profiles.registry import load_registry
from tests.firmware_profiles import aes_reference

KEY = bytes.fromhex("231d39c1d7cc1ab1aee224cd096db932")
ADDRESS = "54:48:E6:8F:80:A5"
SEALED = bytes.fromhex("0201061216d2fc41a47266c95f730011223378237214")
MI = bytes.fromhex("0201061b1695fe58598d0a8c778e203cc2185a273628ec32060000c4264015")
MI_KEY = bytes.fromhex("4960bb9f8711b4ffd7df1756d11427ae")


@pytest.fixture(scope="module")
def registry():
    return load_registry()


@pytest.fixture
def _reference(monkeypatch):
    def open_ccm(key, nonce, sealed, aad):
        plain = aes_reference.open_ccm(key, nonce, sealed, aad)
        if plain is None:
            raise Refused("not-authentic")
        return plain

    monkeypatch.setattr(crypto, "open_ccm", open_ccm)
    monkeypatch.setattr(mibeacon, "open_ccm", open_ccm)


def test_the_reference_is_aes():
    key = bytes.fromhex("000102030405060708090a0b0c0d0e0f")
    block = bytes.fromhex("00112233445566778899aabbccddeeff")
    assert aes_reference.aes128(key, block).hex() == "69c4e0d86a7b0430d8cdb78070b4c55a"


def test_the_reference_is_ccm():
    """RFC 3610, packet vector 1 (tag of 8 bytes)."""
    key = bytes(range(0xC0, 0xD0))
    nonce = bytes.fromhex("00000003020100a0a1a2a3a4a5")
    sealed = aes_reference.seal_ccm(key, nonce, bytes(range(8, 31)), bytes(range(8)), 8)
    assert sealed.hex() == "588c979a61c663d2f066d0c2c0f989806d5f6b61dac38417e8d12cfdf926e0"


@pytest.mark.usefixtures("_reference")
def test_bthome_example_opens(registry):
    found = registry.decode_advert(SEALED, address=ADDRESS, key=KEY)
    assert found.fields == {
        "encryption_counter": 857870592,
        "temperature_c": 25.06,
        "humidity_pct": 50.55,
    }
    assert found.tag == "ble:5448e68f80a5"


@pytest.mark.usefixtures("_reference")
def test_address_in_the_payload_overrules_the_caller(registry):
    head = bytes([0x43]) + bytes.fromhex("5448E68F80A5")[::-1]
    counter = (7).to_bytes(4, "little")
    nonce = bytes.fromhex("5448E68F80A5") + b"\xd2\xfc\x43" + counter
    sealed = aes_reference.seal_ccm(KEY, nonce, bytes.fromhex("3a01"), None)
    body = b"\xd2\xfc" + head + sealed[:-4] + counter + sealed[-4:]
    advert = bytes([len(body) + 1, 0x16]) + body
    found = registry.decode_advert(advert, address="11:22:33:44:55:66", key=KEY)
    assert found.fields == {
        "encryption_counter": 7,
        "mac": "54:48:E6:8F:80:A5",
        "button_event": "press",
    }


@pytest.mark.usefixtures("_reference")
def test_mibeacon_opens(registry):
    found = registry.decode_advert(MI, address="18:C2:3C:20:8E:77", key=MI_KEY)
    assert found.fields == {
        "product_id": 2701,
        "mac": "18:C2:3C:20:8E:77",
        "motion": True,
        "light": True,
    }


@pytest.mark.usefixtures("_reference")
@pytest.mark.parametrize("advert", [SEALED, MI])
def test_wrong_key_is_not_authentic(registry, advert):
    found = registry.decode_advert(advert, address=ADDRESS, key=bytes(16))
    assert found == Rejected("not-authentic")


@pytest.mark.parametrize("advert", [SEALED, MI])
@pytest.mark.parametrize("key", [None, b"", b"short", bytes(17)])
def test_no_key_is_said(registry, advert, key):
    assert registry.decode_advert(advert, address=ADDRESS, key=key) == Rejected("no-key")


@pytest.mark.parametrize("address", [None, "", "zz", "11:22"])
def test_no_address_is_no_key(registry, address):
    assert registry.decode_advert(SEALED, address=address, key=KEY) == Rejected("no-key")


@pytest.mark.parametrize("advert", [SEALED, MI])
def test_without_the_package_it_says_so(registry, advert, monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    found = registry.decode_advert(advert, address=ADDRESS, key=KEY)
    assert found == Rejected("no-crypto")


@pytest.mark.parametrize("size", range(1, 9))
def test_cut_encrypted_body_is_truncated(registry, size):
    body = bytes.fromhex("d2fc41a47266c95f7300112233")[: 2 + size]
    advert = bytes([len(body) + 1, 0x16]) + body
    found = registry.decode_advert(advert, address=ADDRESS, key=KEY)
    assert found in (Rejected("truncated"), Rejected("no-match"))
    assert not isinstance(found, Decoded)
