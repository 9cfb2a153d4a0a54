"""NTAG 424 DNA against the published examples, and against what is nearly right.

AN12196 is NXP's application note on the chip, RFC 4493 that on AES-CMAC. The example with
keys other than zero and the one with a plain UID are of the free back end of the tag's
community (sdm-backend), which runs them as its tests.
"""

import sys
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_profiles.crypto import aes_cmac, is_same, proof_of
from firmware_profiles.decoded import REASONS, Decoded, Proof, Refused, Rejected
from firmware_profiles.decoders.ntag424 import decode, file_data, sun_mac
from firmware_profiles.emits import compile_emits
from firmware_profiles.form import check_form
from firmware_profiles.registry import load_registry, packaged_profiles
from tests.firmware_profiles.sun_cards import SunCard, cmac

REGISTRY = load_registry()
SUN = REGISTRY.profiles["ntag424_sun"]
ZERO = bytes(16)
RFC_KEY = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
RFC_TEXT = bytes.fromhex(
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
    "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
)
PICC, MAC = "EF963FF7828658A599F3041510671E88", "94EED9EE65337086"
ADDRESS = f"https://ntag.nxp.com/424?e={PICC}&c={MAC}"
PLAIN = "uid=041E3C8A2D6B80&ctr=000006&cmac=4B00064004B0B3D3"
ENC = (
    "picc_data=FD91EC264309878BE6345CBE53BADF40"
    "&enc=CEE9A53E3E463EF1F459635736738962&cmac=ECC1E7F6C6C73BF6"
)


def is_answer(one):
    return isinstance(one, Decoded) or one.reason in REASONS - {"broken-profile"}


def read(text, **keys):
    options = {"keys": keys} if keys else {"key": ZERO}
    return SUN.read(text.encode(), options)


@pytest.mark.parametrize(
    ("size", "code"),
    [
        (0, "bb1d6929e95937287fa37d129b756746"),
        (16, "070a16b46b4d4144f79bdd9dd04a287c"),
        (40, "dfa66747de9ae63030ca32611497c827"),
        (64, "51f0bebf7e3b9d92fc49741779363cfe"),
    ],
)
def test_aes_cmac_is_that_of_rfc_4493(size, code):
    assert aes_cmac(RFC_KEY, RFC_TEXT[:size]).hex() == code
    assert cmac(RFC_KEY, RFC_TEXT[:size]).hex() == code


@pytest.mark.parametrize(
    ("key", "vector", "session"),
    [
        (
            "5ace7e50ab65d5d51fd5bf5a16b8205b",
            "3cc30001008004c767f2066180010000",
            "3a3e8110e05311f7a3fcf0d969bf2b48",
        ),
        ("00" * 16, "3cc30001008004de5f1eacc0403d0000", "3fb5f6e3a807a03d5e3570ace393776f"),
        ("00" * 16, "3cc30001008004958caa5c5e80080000", "3ed0920e5e6a0320d823d5987feafbb1"),
    ],
)
def test_session_keys_of_the_application_note(key, vector, session):
    assert aes_cmac(bytes.fromhex(key), bytes.fromhex(vector)).hex() == session


@pytest.mark.parametrize(
    ("key", "uid", "counter", "covered", "code"),
    [
        ("00" * 16, "04de5f1eacc040", 61, "", "94eed9ee65337086"),
        (
            "00" * 16,
            "04958caa5c5e80",
            8,
            "CEE9A53E3E463EF1F459635736738962&cmac=",
            "ecc1e7f6c6c73bf6",
        ),
        ("00" * 16, "041e3c8a2d6b80", 6, "", "4b00064004b0b3d3"),
        (
            "b62a9baf092439bd43c62aee96b970c5",
            "041d3c8a2d6b80",
            291,
            "B8436E11F627BB7F543FCC0C1E0D1A89",
            "238b2543a8debad8",
        ),
    ],
)
def test_codes_as_published(key, uid, counter, covered, code):
    low_first = counter.to_bytes(3, "little")
    found = sun_mac(bytes.fromhex(key), bytes.fromhex(uid), low_first, covered.encode())
    assert found.hex() == code


def test_file_data_as_published():
    key, uid = bytes.fromhex("b62a9baf092439bd43c62aee96b970c5"), bytes.fromhex("041d3c8a2d6b80")
    sealed = bytes.fromhex("B8436E11F627BB7F543FCC0C1E0D1A89")
    assert file_data(key, uid, (291).to_bytes(3, "little"), sealed) == b"NTXXqno_oBFpwy-V"


@pytest.mark.parametrize("head", ["https://a.example/t?", "HTTP://X/?n=1&", "shop.example/y/z?"])
@pytest.mark.parametrize(
    ("query", "uid", "counter", "mirror"),
    [
        (f"e={PICC}&c={MAC}", "04de5f1eacc040", 61, "encrypted"),
        (f"picc_data={PICC}&cmac={MAC}&lang=de#top", "04de5f1eacc040", 61, "encrypted"),
        (f"cmac={MAC}&picc_data={PICC}", "04de5f1eacc040", 61, "encrypted"),
        (PLAIN, "041e3c8a2d6b80", 6, "plain"),
    ],
)
def test_any_host_and_any_order(head, query, uid, counter, mirror):
    found = read(head + query)
    assert found.fields == {"uid_hex": uid, "read_counter": counter, "mirror": mirror}
    (emit,) = found.emits
    assert (emit.kind, emit.tag, emit.proof) == ("tap", f"nfc:{uid}", "ntag424-sun")


def test_the_code_covers_encrypted_file_data():
    assert read("x?" + ENC).fields["file_data_hex"] == b"xxxxxxxxxxxxxxxx".hex()
    changed = ENC.replace("CEE9", "CEE8")
    assert read("x?" + changed) == Rejected("not-authentic")
    without = ENC.replace("&enc=CEE9A53E3E463EF1F459635736738962", "")
    assert read("x?" + without) == Rejected("not-authentic")
    added = f"e={PICC}&enc={'00' * 16}&c={MAC}"
    assert read("x?" + added) == Rejected("not-authentic")


def test_a_card_with_a_key_of_its_own_needs_that_key():
    uid, key = "041e3c8a2d6b80", ZERO
    assert isinstance(read("x?" + PLAIN, **{uid: key}), Decoded)
    assert isinstance(read("x?" + PLAIN, file=key), Decoded)
    assert read("x?" + PLAIN, **{uid: bytes(15) + b"\1", "file": key}) == Rejected("not-authentic")
    assert read("x?" + PLAIN, meta=key) == Rejected("no-key")
    assert read(ADDRESS, file=key) == Rejected("no-key")
    assert isinstance(read(ADDRESS, file=key, meta=key), Decoded)
    assert read(ADDRESS, file=key, meta=bytes(15) + b"\1") == Rejected("not-authentic")


@pytest.mark.parametrize("options", [{}, {"key": None}, {"key": b"short"}, {"keys": {}}])
def test_no_key_is_said(options):
    assert SUN.read(ADDRESS.encode(), options) == Rejected("no-key")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "bad-line"),
        ("04de5f1eacc040", "bad-line"),
        ("https://shop.example/", "bad-line"),
        (f"x?e={PICC}", "bad-line"),
        (f"x?c={MAC}", "bad-line"),
        (f"x?e={PICC}&c={MAC}&cmac={MAC}", "bad-line"),
        (f"x?{PLAIN}&e={PICC}", "bad-line"),
        (f"x?e={PICC}&uid=041E3C8A2D6B80&c={MAC}", "bad-line"),
        (f"x?e={PICC[:-1]}&c={MAC}", "bad-length"),
        (f"x?e={PICC[:-2]}&c={MAC}", "bad-length"),
        (f"x?e=&c={MAC}", "bad-length"),
        (f"x?e={PICC}&c={MAC}00", "bad-length"),
        (f"x?c={MAC}&e={PICC}&enc={'00' * 16}", "bad-line"),
        (f"x?e={PICC}&enc={'00' * 15}&c={MAC}", "bad-length"),
        (f"x?e={PICC}{'00' * 8}&c={MAC}", "unknown-frame"),
        (f"x?e={'00' * 16}&c={'00' * 8}", "not-authentic"),
        (f"x?e={PICC}&c={MAC}\t", "bad-line"),
        ("x?" + PLAIN.replace("000006", "000007"), "not-authentic"),
        ("x?" + PLAIN.replace("041E", "041F"), "not-authentic"),
    ],
)
def test_what_is_nearly_right_is_refused(text, reason):
    assert read(text) == Rejected(reason)


def test_every_bit_of_the_message_counts():
    for at in range(128):
        picc = f"{int(PICC, 16) ^ 1 << at:032X}"
        found = read(f"x?e={picc}&c={MAC}")
        assert found == Rejected("not-authentic")
    for at in range(64):
        assert read(f"x?e={PICC}&c={int(MAC, 16) ^ 1 << at:016X}") == Rejected("not-authentic")


def test_without_the_package_it_says_so(monkeypatch):
    for name in ("ciphers", "ciphers.algorithms", "cmac"):
        monkeypatch.setitem(sys.modules, f"cryptography.hazmat.primitives.{name}", None)
    assert read(ADDRESS) == Rejected("no-crypto")
    assert read("x?" + PLAIN) == Rejected("no-crypto")


def test_codes_are_compared_by_the_function_that_takes_its_time(monkeypatch):
    compared = []

    def watched(one, other):
        compared.append((len(one), len(other)))
        return is_same(one, other)

    monkeypatch.setattr("firmware_profiles.decoders.ntag424.is_same", watched)
    assert isinstance(read(ADDRESS), Decoded)
    assert read(f"x?e={PICC}&c={'00' * 8}") == Rejected("not-authentic")
    assert compared == [(8, 8)] * 2


@given(st.binary(min_size=7, max_size=7), st.integers(0, (1 << 24) - 1), st.binary(min_size=16))
@settings(max_examples=30, deadline=None)
def test_what_another_implementation_signed_is_verified(uid, counter, key):
    card = SunCard(uid.hex(), key[:16])
    found = SUN.read(card.line(counter)[:-2], {"keys": {"file": card.key}})
    assert found.fields == {"uid_hex": uid.hex(), "read_counter": counter, "mirror": "plain"}


NAMES = st.sampled_from(["e", "c", "picc_data", "cmac", "uid", "ctr", "enc", "x"])
VALUES = st.text("0123456789abcdefABCDEF&=?#%", max_size=40) | st.sampled_from([PICC, MAC])
QUERIES = st.lists(st.tuples(NAMES, VALUES), max_size=5).map(
    lambda parts: "x?" + "&".join(f"{name}={value}" for name, value in parts)
)


@given(st.binary(max_size=160) | QUERIES.map(str.encode), st.sampled_from([{}, {"key": ZERO}]))
@settings(max_examples=500, deadline=None)
def test_any_line_is_decoded_or_refused(line, options):
    assert is_answer(SUN.read(line, options))
    reason = None
    try:
        decode(line, options)
    except Refused as refused:
        reason = refused.reason
    assert reason is None or reason in REASONS


def changed(old, new):
    text = packaged_profiles()["ntag424_sun.toml"]
    assert text.count(old) == 1
    return tomllib.loads(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('decoder = "ntag424_sun"\n', "", "scheme ntag424-sun needs decoder = 'ntag424_sun'"),
        ('decoder = "ntag424_sun"', 'decoder = "pn532"', "scheme ntag424-sun needs decoder"),
        (
            'scheme = "ntag424-sun"\n',
            'scheme = "ntag424-sun"\nwhen = { at = 0, bit = 1 }\n',
            "has no 'when'",
        ),
        ('scheme = "ntag424-sun"\n', 'scheme = "bthome-v2-ccm"\n', "missing key 'when'"),
        ('proof = "ntag424-sun"', 'proof = "sworn"', "unknown proof 'sworn'"),
        ('[crypto]\nscheme = "ntag424-sun"\n', "", "a proof is of a tap"),
    ],
)
def test_a_profile_cannot_claim_a_proof_that_nothing_verifies(old, new, expected):
    assert expected in str(check_form(changed(old, new))[0])


def test_a_field_that_says_proof_is_none():
    text = """schema = "fanous.profile/1"
[profile]
id = "forged"
title = "Forged"
vendor = "me"
version = 1
transport = "record"
privacy = "tag"
source = "here"
[layout]
set = { _proof = "ntag424-sun" }
[[field]]
name = "uid_hex"
type = "hex"
length = 4
[[emit]]
kind = "tap"
tag = "nfc:{uid_hex}"
[[test]]
name = "a"
hex = "04a1b2c3"
expect = { uid_hex = "04a1b2c3" }
"""
    registry = load_registry({"forged.toml": text})
    assert registry.errors == ()
    (emit,) = registry.decode("forged", bytes.fromhex("04a1b2c3")).emits
    assert emit.proof is None
    forged = text.replace('tag = "nfc:{uid_hex}"', 'tag = "nfc:{uid_hex}"\nproof = "ntag424-sun"')
    (error,) = load_registry({"forged.toml": forged}).errors
    assert "forged.toml:19: emit[0].proof: a proof is of a tap" in error
    assert proof_of(tomllib.loads(text)) is None
    table = {"kind": "tap", "tag": "nfc:{uid_hex}", "proof": "ntag424-sun"}
    make = compile_emits([table], ("emit",))
    fields = {"uid_hex": "04a1b2c3", "_proof": "ntag424-sun"}
    assert make(fields, None) == ()
    (emit,) = make(fields | {"_proof": Proof("ntag424-sun")}, None)
    assert emit.proof == "ntag424-sun"
