import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.line_protocol import Point, encode_point, stamp_ns


def _point(measurement="queue", tags=None, fields=None, t_ns=5):
    return Point(measurement=measurement, tags=tags or {}, fields=fields or {}, t_ns=t_ns)


def test_a_whole_line():
    point = _point(
        "dwell",
        {"zone": "shoes", "store": "demo"},
        {"dwell_s": 12, "readings": 7, "visit": "v1", "confidence": 0.5},
        1_764_000_000_000_000_001,
    )
    expected = (
        b'dwell,store=demo,zone=shoes dwell_s=12.0,readings=7i,visit="v1",confidence=0.5 '
        b"1764000000000000001"
    )
    assert expected == encode_point(point)


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_left_out(value):
    fields = {"length": 1, "wait_p50_s": value}
    assert b"queue length=1i 5" == encode_point(_point(fields=fields))
    assert encode_point(_point(fields={"wait_p50_s": value})) is None


def test_text_cannot_break_out():
    evil = 'a,b=c d\n"x"\\'
    line = encode_point(_point("occupancy", {"zone": evil}, {"people": 1, "state": evil}))
    assert b'occupancy,zone=a\\,b\\=c\\ d\\ "x"/ people=1i,state="a,b=c d \\"x\\"\\\\" 5' == line


def test_booleans_and_integers_keep_their_types():
    fields = {"up": True, "outbox": 3.0, "readings_per_s": 2}
    expected = b"agent up=true,outbox=3i,readings_per_s=2.0 5"
    assert expected == encode_point(_point("agent", fields=fields))


def test_a_field_that_is_not_in_the_registry_is_a_programming_error():
    with pytest.raises(KeyError):
        encode_point(_point(fields={"nonsense": 1}))


def test_empty_tags_are_left_out():
    assert b"queue length=1i 5" == encode_point(_point(tags={"zone": ""}, fields={"length": 1}))


def test_stamps_keep_the_millisecond_and_tell_ids_apart():
    t_ns = 1_764_000_000_123_456_789
    stamps = {stamp_ns(t_ns, f"row-{at}") for at in range(100)}
    assert 100 == len(stamps)
    assert {1_764_000_000_123} == {stamp // 1_000_000 for stamp in stamps}
    assert stamp_ns(t_ns, "row-1") == stamp_ns(t_ns + 1, "row-1")
    assert 1_764_000_000_123_000_000 == stamp_ns(t_ns, None)


# One line of the grammar: measurement, tags, one string field, time.
_LINE = re.compile(
    r"occupancy((?:,(?:[^,= \\\n]|\\.)+=(?:[^,= \\\n]|\\.|\\)+)*) "
    r'people=1i,state="((?:[^"\\\n]|\\.)*)" 5'
)


@given(zone=st.text(max_size=40), state=st.text(max_size=40))
def test_whatever_the_text_it_stays_in_its_place(zone, state):
    point = _point("occupancy", {"zone": zone}, {"people": 1, "state": state})
    line = encode_point(point).decode()
    assert "\n" not in line
    found = _LINE.fullmatch(line)
    assert found is not None, line
    flat = state.replace("\n", " ").replace("\r", " ")
    assert flat == re.sub(r"\\(.)", r"\1", found[2])
