"""Lines: cutting, patterns that could blow up, numbers and units, writing."""

import pytest

from firmware_profiles.decoded import Decoded, Rejected
from firmware_profiles.form import FormError
from firmware_profiles.lines import compile_lines
from firmware_profiles.registry import load_registry


@pytest.fixture(scope="module")
def registry():
    return load_registry()


def decoded(registry, name, data):
    decoder = registry.stream(name)
    return [
        one.fields if isinstance(one, Decoded) else one.reason
        for one in [*decoder.feed(data), *decoder.finish()]
    ]


def test_ends_of_lines_of_all_kinds(registry):
    data = b"0003887558\r0003887558\n0003887558\r\n\r\n"
    assert (
        decoded(registry, "keyboard_wedge", data)
        == [{"card_number": 3887558, "tag_format": "dec10"}] * 3
    )


def test_too_long_line_is_one_rejection(registry):
    data = b"1" * 500 + b"\r\n0003887558\r\n"
    assert decoded(registry, "keyboard_wedge", data)[0] == "too-long"
    assert len(decoded(registry, "keyboard_wedge", data)) == 2


def test_half_a_line_spoils_only_itself(registry):
    data = b"\xff\xfeS 100.0\r\nS D      -0.68 g\r\nS S"
    assert decoded(registry, "mt_sics", data) == [
        "bad-line",
        {"stable": False, "mass_g": -0.68},
        "truncated",
    ]


def test_unit_that_is_not_known_is_a_bad_value(registry):
    assert decoded(registry, "mt_sics", b"S S     100.00 xx\r\n") == ["bad-value"]


def test_samples_are_grams(registry):
    for line, mass_g in ((b"S S      1.250 kg\r\n", 1250.0), (b"S S     100.00 g\r\n", 100.0)):
        (found,) = registry.stream("mt_sics").feed(line)
        assert [(emit.kind, emit.mass_g) for emit in found.emits] == [("sample", mass_g)]


def test_overload_is_no_sample(registry):
    (found,) = registry.stream("aandd").feed(b"OL,+999999.9  g\r\n")
    assert found == Decoded("aandd", {"status": "overload"}, None, ())


def test_wedge_and_wiegand_give_one_tag(registry):
    (typed,) = registry.stream("keyboard_wedge").feed(b"0003887558\r")
    wired = registry.decode(
        "wiegand", *_wiegand(registry, {"bits": 26, "facility_code": 59, "card_number": 20934})
    )
    assert typed.tag == wired.tag == "wiegand:3887558"


def _wiegand(registry, fields):
    number = fields["facility_code"] << 16 | fields["card_number"]
    data, length = registry.profiles["wiegand"].bits.write(
        {**fields, "data_hex": f"{number:06x}", "_number": number}
    )
    return data, {"bit_length": length}


def test_lines_are_written_as_devices_write_them(registry):
    assert registry.encode("mt_sics", {"stable": True, "mass_g": 100.0}) == b"S S     100.00 g\r\n"
    assert registry.encode("mt_sics", {"status": "overload"}) == b"S +\r\n"
    assert registry.encode("aandd", {"stable": False, "mass_g": -183.96}) == b"US,-000183.96  g\r\n"
    assert registry.encode("st_gs_ascii", {"stable": True, "net": False, "mass_kg": 12.345}) == (
        b"ST,GS,+0012.345kg\r\n"
    )


def test_what_no_line_can_say_is_an_error(registry):
    with pytest.raises(ValueError, match="no line can say"):
        registry.encode("mt_sics", {"stable": True, "range_mm": 3})


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"pattern": "(a+)+b"}, "a group is repeated"),
        ({"pattern": "(?:a|b){2,}"}, "a group is repeated"),
        ({"pattern": "a*b*c*d*e*"}, "100000 ways"),
        ({"pattern": "a?" * 20}, "100000 ways"),
        ({"pattern": "(?:a|a)" * 20}, "100000 ways"),
        ({"pattern": "a{0,9}" * 6}, "100000 ways"),
        ({"pattern": "a{1,}" * 6}, "100000 ways"),
        ({"pattern": "a" * 401}, "longer than 400"),
        ({"pattern": "(?=a)b"}, "only groups"),
        ({"pattern": r"(?P<a>x)\1"}, "only groups"),
        ({"pattern": "["}, "not a pattern"),
        ({"pattern": "a", "field": [{"group": "b", "name": "c", "type": "text"}]}, "no group 'b'"),
        ({"pattern": "(?P<a>x)", "field": [{"group": "a", "type": "text"}]}, "expected 'name'"),
        ({"pattern": "(?P<a>x)", "write": "{b}"}, "names of groups"),
        ({"pattern": "(?P<a>x)", "write": "{a.__class__}"}, "expected {group}"),
        ({"pattern": "(?P<a>x)", "write": "{a!r}"}, "expected {group}"),
    ],
)
def test_patterns_that_are_refused(form, words):
    with pytest.raises(FormError, match=words):
        compile_lines({"form": [form]}, ("line",))


def test_reasons_stay_bounded(registry):
    assert registry.decode("mt_sics", b"\xff\x00") == Rejected("bad-line")
