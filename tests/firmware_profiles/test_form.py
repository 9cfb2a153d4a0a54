"""Broken profiles are refused with line, key, expectation and nearest key; others load."""

import tomllib

import pytest

from firmware_profiles.decoded import REASONS, Decoded
from firmware_profiles.form import check_form, line_of
from firmware_profiles.form_keys import SHAPES
from firmware_profiles.registry import load_registry, packaged_profiles

GOOD = """schema = "fanous.profile/1"

[profile]
id = "mine"
title = "Mine"
vendor = "me"
version = 1
transport = "ble-adv"
privacy = "sensor"
source = "here"

[match]
company_id = 0xFFFF
prefix = "0b"

[[field]]
name = "range_mm"
type = "u16"
at = 1

[[field]]
name = "battery_pct"
type = "u8"

[[test]]
name = "a"
hex = "0201060" # replaced
expect = {}
""".replace('hex = "0201060" # replaced', 'hex = "07ffffff0b01f463"').replace(
    "expect = {}", "expect = { range_mm = 500, battery_pct = 99 }"
)


def errors(text):
    registry = load_registry({"mine.toml": text})
    assert len(registry.profiles) >= len(packaged_profiles())
    return list(registry.errors)


def test_the_good_one_loads_and_decodes():
    registry = load_registry({"mine.toml": GOOD})
    assert registry.errors == ()
    found = registry.decode_advert(bytes.fromhex("07ffffff0b01f463"))
    assert found.fields == {"range_mm": 500, "battery_pct": 99}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("at = 1", "att = 1", "mine.toml:19: field[0].att: unknown key 'att' (did you mean 'at'?)"),
        ("title =", "titel =", "(did you mean 'title'?)"),
        ('type = "u8"', 'type = "u9"', "mine.toml:23: field[1].type: unknown type 'u9' (did you"),
        ('type = "u8"\n', "", "field[1].type: missing key 'type'"),
        ("version = 1", 'version = "1"', "profile.version: expected a whole number, got '1'"),
        ("version = 1", "version = true", "profile.version: expected a whole number, got True"),
        ('prefix = "0b"', 'prefix = "0B"', "match.prefix: expected lower-case hex digits in pairs"),
        ('prefix = "0b"', 'prefix = "0b0"', "match.prefix: expected lower-case hex"),
        ('name = "range_mm"', 'name = "Range"', "field[0].name: expected text like"),
        ("[[field]]", "[field]", "mine.toml:21: not valid TOML"),
        ("version = 1", "version = ", "mine.toml:7: not valid TOML"),
        ("expect = { ", "expect = { { ", "mine.toml:28: not valid TOML"),
        ("profile/1", "profile/2", "mine.toml:1: unknown schema"),
        (
            'transport = "ble-adv"',
            'transport = "bits"',
            "mine.toml:12: transport bits has no [match]",
        ),
        ("company_id = 0xFFFF", "", "expected one of company_id, any_company, service_uuid"),
        ("company_id = 0xFFFF", "any_company = true", "match.prefix: any_company needs a prefix"),
        ("at = 1", "at = -1", "mine.toml:19: field[0].at: expected 0 to 4095"),
        ("at = 1", "at = 1\nwhen = { at = 0 }", "field[0].when: expected either 'bit' or 'equals'"),
        ('type = "u8"', 'type = "hex"', "field[1].length: type 'hex' needs a length"),
        ("[match]", '[[emit]]\nkind = "sample"\n\n[match]', "emit[0]: a sample needs"),
        ("[match]", '[[emit]]\nkind = "tap"\ntag = "x:{y}"\n\n[match]', "emit[0].tag: expected a"),
        ("[match]", "[switch]\nat = 0\n\n[match]\nextra = 1", "unknown key 'extra'"),
        ("version = 1", 'version = 1\ndecoder = "os:system"', "profile.decoder: no decoder"),
        ("version = 1", 'version = 1\nuses = "bthome_v3"', "(did you mean 'bthome_v2'?)"),
    ],
)
def test_broken_profiles_say_what_is_wrong(old, new, expected):
    text = GOOD.replace(old, new, 1)
    assert text != GOOD
    found = errors(text)
    assert any(expected in message for message in found), found
    assert all(message.startswith("mine.toml") for message in found)


def test_every_problem_is_listed():
    text = GOOD.replace("at = 1", "att = 1").replace("title =", "titel =")
    assert len(errors(text)) == 3


def test_two_variants_with_one_value():
    text = GOOD.replace(
        "[[test]]",
        "[switch]\nat = 0\n\n[[variant]]\nvalue = 1\n\n[[variant]]\nvalue = [2, 1]\n\n[[test]]",
    )
    assert "variant[1].value: value 1 is taken by an earlier variant" in errors(text)[0]


def test_variants_without_a_switch():
    text = GOOD.replace("[[test]]", "[[variant]]\nvalue = 1\n\n[[test]]")
    assert "variants need a [switch]" in errors(text)[0]


def test_two_items_with_one_id():
    item = '[[repeat.item]]\nid = 1\nname = "a"\ntype = "u8"\n\n'
    text = GOOD.replace("[[test]]", '[repeat]\nform = "id-table"\n\n' + item * 2 + "[[test]]")
    assert "repeat.item[1].id: id 1 is taken" in errors(text)[0]


@pytest.mark.parametrize("file", sorted(packaged_profiles()))
def test_packaged_profiles_keep_to_the_form(file):
    text = packaged_profiles()[file]
    table = tomllib.loads(text)
    assert check_form(table) == []
    assert table["profile"]["id"] == file.removesuffix(".toml")


@pytest.mark.parametrize("junk", [1, "a", [], [1], {"a": 1}, True, 1.5, [[]], [{}]])
def test_any_value_anywhere_gives_messages_and_no_exception(junk):
    for key in SHAPES["root"]:
        found = check_form({**tomllib.loads(GOOD), key: junk})
        assert all(str(error) for error in found)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('type = "u8"', 'type = "u8"\nenum = { abc = 1 }'),
        ('type = "u8"', 'type = "u8"\nbits = [1]'),
        ('type = "u8"', 'type = "u8"\nbits = [5, 2]'),
        ('type = "u8"', 'type = "u8"\nbits = [0, 70]'),
        ('type = "u8"', 'type = "u8"\nrange = [1]'),
        ('type = "u8"', 'type = "mac"\nrange = [1, 2]'),
        ('type = "u8"', 'type = "hex"\nlength = 1\nscale = 0.5'),
        ('type = "u8"', 'type = "u8"\nscale = nan'),
        ('type = "u8"', 'type = "u8"\nscale = inf'),
        ('type = "u8"', 'type = "u8"\nbit = 64'),
        ("at = 1", "at = 100000000000"),
        ("at = 1", "at = 1\ncount = 1000000000000"),
    ],
)
def test_parts_that_do_not_fit_hurt_nobody(old, new):
    """Such a profile is refused, or gives rejections; nothing raises and others decode."""
    registry = load_registry({"mine.toml": GOOD.replace(old, new, 1)})
    for size in range(30):
        body = bytes([size + 4, 0xFF, 0xFF, 0xFF, 0x0B]) + bytes(range(size))
        found = registry.decode_advert(body)
        assert isinstance(found, Decoded) or found.reason in REASONS
    assert registry.decode_advert(bytes.fromhex("0616d2fc403a01")).fields == {
        "button_event": "press"
    }


def test_line_of_finds_the_third_field():
    text = "[[field]]\na = 1\n[[field]]\na = 2\n[[field]]\nb = 1\na = 3\n"
    assert line_of(text, ("field", 2, "a")) == 7
