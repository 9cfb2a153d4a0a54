"""Names, tags, pseudonyms and keys."""

import hashlib
import re

import pytest

from ingest.config import ConfigError
from ingest.identifiers import (
    is_name,
    is_pseudonym,
    is_tag,
    pseudonym,
    read_key_file,
    store_key,
)

KEY = b"0123456789abcdef"
TAGS = [
    "ble:b0b0b0b0b0b0",
    "ibeacon:00112233-4455-6677-8899-aabbccddeeff-1-65535",
    "eddystone:00112233445566778899-aabbccddeeff",
    "altbeacon:" + "0a" * 20,
    "nfc:04a1b2c3",
    "nfc:04a1b2c3d4e5f6",
    "em4100:0a1b2c3d4e",
    "wiegand:1234567",
    "name:anna",
    "name:anna-maria-2",
]
NO_TAGS = [
    "",
    "ble:",
    "ble:b0b0b0b0b0b",
    "ble:b0b0b0b0b0b00",
    "BLE:B0B0B0B0B0B0",
    "ble:B0B0B0B0B0B0",
    "b0b0b0b0b0b0",
    " ble:b0b0b0b0b0b0",
    "ble:b0b0b0b0b0b0\n",
    "ibeacon:00112233-4455-6677-8899-aabbccddeeff-1",
    "nfc:04a",
    "nfc:04a1b2c3d",
    "wiegand:١٢٣",
    "ibeacon:00112233-4455-6677-8899-aabbccddeeff-١-1",
    "name:",
    "name:Anna",
    "name:a--b",
    "name:-a",
    "name:" + "a" * 60,
    "irk:00112233445566778899aabbccddeeff",
]


@pytest.mark.parametrize("text", TAGS)
def test_tags(text):
    assert is_tag(text)
    assert re.fullmatch(r"p_[a-z2-7]{16}", pseudonym(text, KEY))


@pytest.mark.parametrize("text", NO_TAGS)
def test_what_is_no_tag(text):
    assert not is_tag(text)


@pytest.mark.parametrize("text", ["a", "0", "rx-1", "a.b_c-d", "a" * 64])
def test_names(text):
    assert is_name(text)


@pytest.mark.parametrize(
    "text", ["", "-a", ".a", "_a", "A", "a b", "a/b", "ä", "a" * 65, "a\n", "٣", "a+", "#"]
)
def test_what_is_no_name(text):
    assert not is_name(text)


def test_a_pseudonym_is_the_keyed_hash_of_the_contract():
    # BLAKE2b, 10-byte digest, keyed; base32 written out with its alphabet as reference.
    digest = hashlib.blake2b(b"ble:b0b0b0b0b0b0", digest_size=10, key=KEY).digest()
    bits = int.from_bytes(digest, "big")
    alphabet = "abcdefghijklmnopqrstuvwxyz234567"
    expected = "p_" + "".join(alphabet[bits >> shift & 31] for shift in range(75, -1, -5))
    assert expected == pseudonym("ble:b0b0b0b0b0b0", KEY)


def test_a_pseudonym_passes_unchanged_and_depends_on_the_key():
    one = pseudonym("name:anna", KEY)
    assert is_pseudonym(one)
    assert one == pseudonym(one, b"another key of 16+")
    assert one != pseudonym("name:anna", b"another key of 16+")
    assert not is_pseudonym("p_abcdefghijklmno1")
    assert not is_pseudonym("p_ABCDEFGHIJKLMNOP")
    assert not is_pseudonym(one + "a")


@pytest.mark.parametrize("size", [16, 32, 64])
def test_a_key_file_is_its_bytes(tmp_path, size):
    (tmp_path / "key").write_bytes(b"\n" * size)
    assert b"\n" * size == read_key_file(tmp_path / "key")


@pytest.mark.parametrize(("size", "got"), [(0, "got 0"), (15, "got 15"), (65, "got more")])
def test_a_key_of_another_size_is_refused_and_not_shown(tmp_path, size, got):
    (tmp_path / "key").write_bytes(b"k" * size)
    with pytest.raises(ConfigError, match=f"expected 16 to 64 bytes, {got}") as error:
        read_key_file(tmp_path / "key")
    assert "kkk" not in str(error.value)


def test_a_key_file_that_never_ends_is_refused():
    with pytest.raises(ConfigError, match="got more"):
        read_key_file("/dev/zero")


def test_a_missing_key_file_is_refused(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read"):
            read_key_file(path)


def test_the_stand_in_key_is_the_stores_id():
    assert b"demo" == store_key("demo")
    assert pseudonym("name:anna", store_key("a" * 64)) != pseudonym("name:anna", store_key("a"))
