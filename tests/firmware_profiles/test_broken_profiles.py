"""Broken profiles of a shop's own: one message each with line, key and expectation."""

import re
import time

import pytest

from firmware_profiles.decoded import REASONS, Decoded, Rejected
from firmware_profiles.registry import load_registry, packaged_profiles
from tests.firmware_profiles.test_form import GOOD

MESSAGE = re.compile(r"mine\.toml:(\d+): ([^:]+): (?:expected|type|unknown|missing|field|')")
LINE = """schema = "fanous.profile/1"

[profile]
id = "mine"
title = "Mine"
vendor = "me"
version = 1
transport = "serial-line"
privacy = "sensor"
source = "here"

[line]
max_length = 120

[[line.form]]
pattern = 'W (?P<mass>[0-9]{1,6})'

[[line.form.field]]
group = "mass"
name = "mass_g"
type = "number"

[[test]]
name = "a"
hex = "572031320d0a"
expect = { mass_g = 12.0 }
"""


def only_error(text):
    registry = load_registry({"mine.toml": text})
    assert set(registry.profiles) == {file.removesuffix(".toml") for file in packaged_profiles()}
    (error,) = registry.errors
    return error


@pytest.mark.parametrize(
    ("old", "new", "line", "key"),
    [
        ('type = "u8"', 'type = "u8"\nenum = { abc = 1 }', 24, "field[1].enum"),
        ('type = "u8"', 'type = "u8"\nbits = [1]', 24, "field[1].bits"),
        ('type = "u8"', 'type = "u8"\nbits = [5, 2]', 24, "field[1].bits"),
        ('type = "u8"', 'type = "u8"\nbits = [0, 8]', 24, "field[1].bits"),
        ('type = "u8"', 'type = "u8"\nrange = [1]', 24, "field[1].range"),
        ('type = "u8"', 'type = "u8"\nbetween = [3, 1]', 24, "field[1].between"),
        ('type = "u8"', 'type = "mac"\nrange = [1, 2]', 24, "field[1].range"),
        ('type = "u8"', 'type = "hex"\nlength = 1\nscale = 0.5', 25, "field[1].scale"),
        ('type = "u8"', 'type = "u8"\nscale = nan', 24, "field[1].scale"),
        ('type = "u8"', 'type = "u8"\nscale = inf', 24, "field[1].scale"),
        ('type = "u8"', 'type = "u8"\nscale = 0', 24, "field[1].scale"),
        ('type = "u8"', 'type = "u8"\nbit = 3', 24, "field[1].bit"),
        ('type = "u8"', 'type = "bool"\nbit = 8', 24, "field[1].bit"),
        ('type = "u8"', 'type = "u8"\ndecimals = 99', 24, "field[1].decimals"),
        ('type = "u8"', 'type = "u8"\nsentinel = "ff"', 24, "field[1].sentinel"),
        ('type = "u8"', 'type = "hex"\nlength = 1\nsentinel = 255', 25, "field[1].sentinel"),
        ('type = "u8"', 'type = "u8"\nenum = { "1" = 2020-01-01 }', 24, "field[1].enum"),
        ("at = 1", "at = 100000000000", 19, "field[0].at"),
        ("at = 1", "at = 1\ncount = 1000000000000", 20, "field[0].count"),
        ("at = 1", "at = 1\nwhen = { at = 0, bit = 8 }", 20, "field[0].when"),
        ("at = 1", "at = 1\nwhen = { at = -1, bit = 0 }", 20, "field[0].when"),
        ("company_id = 0xFFFF", "company_id = 0x10000", 13, "match.company_id"),
        ("company_id = 0xFFFF", "service_uuid = -1", 13, "match.service_uuid"),
        ('prefix = "0b"', 'prefix = "0b"\nlength = 3', 23, "field[1].name"),
        ('prefix = "0b"', 'prefix = "0b"\nlength = 1', 20, "field[0].at"),
        ('prefix = "0b"', 'prefix = "0b"\nmax_length = 3', 23, "field[1].name"),
        ('prefix = "0b"', 'prefix = "0b"\n[layout]\nlength = 3', 24, "field[1].name"),
        ('prefix = "0b"', 'prefix = "0b"\n[layout]\nlength = -1', 16, "layout.length"),
        ('prefix = "0b"', 'prefix = "0b"\nmask = "ff00"', 15, "match.mask"),
        ("[match]", '[crypto]\nscheme = "rot13"\n\n[match]', 13, "crypto.scheme"),
    ],
)
def test_line_key_and_expectation(old, new, line, key):
    text = GOOD.replace(old, new, 1)
    assert text != GOOD
    error = only_error(text)
    found = MESSAGE.match(error)
    assert found, error
    assert (str(line), key) == (found[1], found[2]), error


NESTED = """
[switch]
at = 0

[[variant]]
value = 1

[[variant]]
value = 2

[variant.switch]
at = 1

[[variant.variant]]
value = 3

[[variant.variant.field]]
name = "count"
type = "u8"
scale = "much"

[[test]]"""


def test_a_wrong_type_deep_inside():
    error = only_error(GOOD.replace("\n[[test]]", NESTED, 1))
    assert "variant[1].variant[0].field[0].scale: expected a number, got 'much'" in error
    assert error.startswith("mine.toml:43:")


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("W (?P<mass>[0-9]", "not a pattern"),
        ("W (?P<mass>([0-9]+)+)", "a group is repeated"),
        ("W (?P<mass>[0-9]*[0-9]*[0-9]*[0-9]*)", "more than 100000 ways"),
    ],
)
def test_patterns_say_where_they_stand(pattern, words):
    error = only_error(LINE.replace("W (?P<mass>[0-9]{1,6})", pattern))
    assert error.startswith("mine.toml:16: line.form[0].pattern: ")
    assert words in error


def test_the_slowest_pattern_that_is_taken_is_quick():
    """A line that fits nowhere is tried in all the ways that the guard allows."""
    slow = "W(?P<mass>x*x*)" + "x?" * 3
    registry = load_registry({"mine.toml": LINE.replace("W (?P<mass>[0-9]{1,6})", slow)})
    assert registry.errors == ()
    began_s = time.process_time()
    found = registry.decode("mine", b"W" + b"x" * 118 + b"!")
    assert found == Rejected("bad-line")
    assert time.process_time() - began_s < 0.5


@pytest.mark.parametrize(
    "junk",
    ["\0", "= 1", "[" * 5000, "a = " + "[" * 5000 + "]" * 5000, "schema", "\ufeff", '"', "'''"],
)
def test_what_is_not_toml_is_one_message_with_a_line(junk):
    assert re.match(r"mine\.toml:\d+: not valid TOML", only_error(junk))


def test_a_second_file_with_an_id_of_the_shop_is_refused():
    registry = load_registry({"mine.toml": GOOD, "more.toml": GOOD.replace('"Mine"', '"More"')})
    assert registry.errors == (
        "more.toml:4: profile.id: 'mine' is taken by mine.toml, expected another id",
    )
    assert registry.profiles["mine"].title == "Mine"


def test_an_id_of_the_program_is_replaced_unless_the_new_one_is_broken():
    own = GOOD.replace('id = "mine"', 'id = "ruuvi_df5"')
    assert load_registry({"mine.toml": own}).profiles["ruuvi_df5"].title == "Mine"
    for broken in (own.replace("at = 1", "att = 1"), own.replace("at = 1", "at = -1")):
        registry = load_registry({"mine.toml": broken})
        assert len(registry.errors) == 1
        assert registry.profiles["ruuvi_df5"].vendor == "Ruuvi"


def test_the_others_decode_beside_many_broken_ones():
    texts = {f"{n}.toml": GOOD.replace("at = 1", f"at = {-n}") for n in range(1, 20)}
    registry = load_registry({**texts, "mine.toml": GOOD})
    assert len(registry.errors) == 19
    found = registry.decode_advert(bytes.fromhex("07ffffff0b01f463"))
    assert found.fields == {"range_mm": 500, "battery_pct": 99}


def test_a_test_of_a_profile_that_fails_does_not_keep_it_from_loading():
    """A profile's own vectors are judged by `fanous profiles test`, not at each start."""
    text = GOOD.replace("range_mm = 500", "range_mm = 501")
    assert load_registry({"mine.toml": text}).errors == ()


def test_a_profile_left_out_is_not_asked():
    registry = load_registry().without(["ibeacon", "bthome_v2", "nothing"])
    press = bytes.fromhex("0516d2fc402d01".replace("05", "06", 1))
    assert "ibeacon" not in registry.profiles
    assert registry.decode_advert(press) == Rejected("no-match")
    assert isinstance(load_registry().decode_advert(press), Decoded)
    assert {"no-match"} < REASONS
