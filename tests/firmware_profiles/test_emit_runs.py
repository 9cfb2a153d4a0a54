"""The quick way to the emits gives the same as asking every one of them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_profiles.decoded import Emit
from firmware_profiles.emit_runs import compile_emit_runs
from firmware_profiles.emits import compile_emits
from firmware_profiles.form import FormError
from firmware_profiles.registry import load_registry

HEARD = {"kind": "reading", "tag": "ble:{address}"}
TABLES = [
    [],
    [HEARD],
    [HEARD, {"kind": "sample", "mass_g": "a"}],
    [{"kind": "sample", "mass_g": "a"}, HEARD],
    [HEARD, {"kind": "tap", "tag": "ble:{address}", "only": {"a": "x"}}],
    [
        HEARD,
        {"kind": "tap", "tag": "ble:{address}", "only": {"a": "x"}},
        {"kind": "sample", "mass_g": "b"},
        {"kind": "tap", "tag": "ble:{address}", "only": {"a": "y"}},
        {"kind": "tap", "tag": "nfc:{b}", "only": {"a": "y"}},
    ],
    [HEARD, {"kind": "tap", "tag": "nfc:{b}", "only": {"a": 1}}],
    [HEARD, {"kind": "tap", "tag": "nfc:{b}", "only": {"a": "x", "b": "y"}}],
    [HEARD, {"kind": "tap", "tag": "nfc:{b}", "never": {"a": "x"}}],
    [HEARD, {"kind": "tap", "tag": "ble:{address}", "never": {"a": "x"}}],
    [HEARD, {"kind": "sample", "range_mm": "a"}, {"kind": "sample", "range_mm": "b", "scale": 10}],
    [HEARD, {"kind": "sample", "range_mm": ["a", "b"]}],
    *(profile.table.get("emit", []) for profile in load_registry().profiles.values()),
]
NAMES = sorted(
    {"a", "b"}
    | {name for tables in TABLES for one in tables for name in one.get("only", {})}
    | {
        name
        for tables in TABLES
        for one in tables
        for key in ("mass_g", "range_mm")
        for name in ([one[key]] if isinstance(one.get(key), str) else one.get(key, []))
    }
)
VALUES = st.sampled_from(["x", "y", "press", "double_press", "04a1b2c3d4e5f6", 1, 2.5, None, True])


def outcome(make, fields, address):
    """Return the emits, or the kind of error that a stranger's profile may raise."""
    try:
        return make(fields, address)
    except TypeError:
        return TypeError


@pytest.mark.parametrize("tables", TABLES)
@given(
    fields=st.dictionaries(st.sampled_from(NAMES), VALUES),
    address=st.none() | st.sampled_from(["A4:C1:38:8D:18:B2", "a4c1388d18b2", "", "A4:C1"]),
)
@settings(max_examples=60, deadline=None)
def test_runs_give_what_all_give(tables, fields, address):
    expected = outcome(compile_emits(tables, ("emit",)), fields, address)
    assert expected == outcome(compile_emit_runs(tables, ("emit",)), fields, address)


def test_order_is_that_of_the_profile():
    fields, address = {"a": "y", "b": 12}, "A4:C1:38:8D:18:B2"
    assert compile_emit_runs(TABLES[5], ("emit",))(fields, address) == (
        Emit("reading", "ble:a4c1388d18b2"),
        Emit("sample", None, 12),
        Emit("tap", "ble:a4c1388d18b2"),
        Emit("tap", "nfc:12"),
    )


def test_a_wrong_emit_is_named_by_its_place():
    with pytest.raises(FormError) as caught:
        compile_emit_runs([HEARD, HEARD, {"kind": "sample"}], ("emit",))
    assert caught.value.path == ("emit", 2)
