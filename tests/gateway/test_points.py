import pytest

from analytics.rows import Occupancy, Output, QueueMinute, ShelfEvent, ShelfStock, Transition
from gateway.gate import Gate
from gateway.points import HOUR_NS, PointMaker, encode_points, occupancy_state
from gateway.visit_history import History
from tests.gateway.rows import dwell, visit
from tests.gateway.samples import ANNA, SECOND, STORE, T0

FIRST = {"v1": History(earlier_visits=0, days_since_last=None)}
MINUTE0 = T0 // (60 * SECOND) * 60 * SECOND


def _maker(identity="none", gate=None, **more):
    return PointMaker(STORE, gate or Gate(), identity=identity, **more)


def _shelf_event(status):
    return ShelfEvent(
        event="e1",
        t_ns=T0,
        shelf="shoes-1",
        sensor="plate-1",
        gtin="04012345678901",
        kind="pick",
        status=status,
        quantity=1,
        delta_g=-640.0,
        confidence=0.9,
        tag=ANNA,
    )


def test_every_table_has_its_measurement():
    output = Output(
        dwells=[dwell("d1", T0)],
        visits=[visit("v1", T0)],
        shelf_events=[_shelf_event(s) for s in ("provisional", "retracted", "final")],
        shelf_visits=[("e1", "v1")],
        shelf_stock=[
            ShelfStock(t_ns=T0, shelf="s", gtin="g", quantity=3, sigma=0.1, mass_g=None, state="ok")
        ],
        occupancy=[Occupancy(t_ns=MINUTE0, layer="main", zone="shoes", people=3)],
        queues=[
            QueueMinute(
                t_ns=MINUTE0, zone="promo", length=2, wait_p50_s=None, wait_p90_s=9.0, abandoned=0
            )
        ],
    )
    lines = [line.decode() for line in encode_points(_maker().of_output(output, FIRST))]
    assert 6 == len(lines)
    by_name = {line.split(",")[0]: line for line in lines}
    assert 'occupancy,store=demo,zone=shoes people=3i,max=3i,state="busy"' in by_name["occupancy"]
    assert "dwell,store=demo,zone=shoes,zone_kind=aisle dwell_s=60.0" in by_name["dwell"]
    assert "visit,purpose=browse,store=demo visit_s=120.0,zones=2i" in by_name["visit"]
    assert "earlier_visits=0i" in by_name["visit"]
    assert "kind=pick" in by_name["shelf_event"]
    assert 'confidence=0.9,visit="v1"' in by_name["shelf_event"]
    assert "mass_g" not in by_name["shelf_stock"]
    assert "queue,store=demo,zone=promo length=2i,wait_p90_s=9.0,abandoned=0i" in by_name["queue"]


def test_a_visit_says_how_often_and_when_its_visitor_came_before():
    histories = {"v1": History(earlier_visits=3, days_since_last=6.5)}
    (point,) = _maker().of_output(Output(visits=[visit("v1", T0)]), histories)
    assert (3, 6.5) == (point.fields["earlier_visits"], point.fields["days_since_last"])


@pytest.mark.parametrize(
    ("people", "most", "state"),
    [(0, 0, "empty"), (0, 1, "busy"), (1, 2, "busy"), (21, 30, "busy"), (22, 22, "congested")],
)
def test_the_state_of_a_zone_follows_from_people_and_floor(people, most, state):
    assert state == occupancy_state(people, most, 30.0)


def test_one_person_congests_no_zone_however_small():
    assert "busy" == occupancy_state(1, 1, 0.5)


def test_rows_over_a_period_are_stamped_with_its_end():
    (point,) = _maker().of_output(Output(dwells=[dwell("d1", T0, seconds=60)]), {})
    assert (T0 + 60 * SECOND) // 1_000_000 == point.t_ns // 1_000_000


def test_without_consent_no_pseudonym_leaves_and_the_row_does():
    output = Output(dwells=[dwell("d1", T0)], visits=[visit("v1", T0)])
    for identity, denied in (("none", 0), ("pseudonym", 2)):
        gate = Gate()
        lines = encode_points(_maker(identity, gate).of_output(output, FIRST))
        assert 2 == len(lines)
        assert ANNA not in b"".join(lines).decode()
        assert denied == gate.denied


def test_with_consent_the_pseudonym_is_a_field_and_never_a_tag():
    gate = Gate(lambda visitor, purpose: (visitor, purpose) == (ANNA, "analytics"))
    output = Output(dwells=[dwell("d1", T0)])
    (line,) = encode_points(_maker("pseudonym", gate).of_output(output, {}))
    series, fields, _ = line.decode().split(" ")
    assert f'visitor="{ANNA}"' in fields
    assert ANNA not in series


def test_taps_are_counted_per_minute_and_a_late_one_rewrites_the_whole_count():
    maker = _maker()
    maker.count_taps([MINUTE0, MINUTE0 + SECOND], ["gate-1", "gate-1"])
    assert [] == maker.of_taps(MINUTE0 + 59 * SECOND)
    (point,) = maker.of_taps(MINUTE0 + 60 * SECOND)
    assert ({"count": 2}, MINUTE0 + 60 * SECOND) == (point.fields, point.t_ns)
    assert {"store": "demo", "tap_point": "gate-1", "role": "entry"} == point.tags
    assert [] == maker.of_taps(MINUTE0 + 90 * SECOND)
    maker.count_taps([MINUTE0 + 2 * SECOND], ["gate-1"])
    (point,) = maker.of_taps(MINUTE0 + 90 * SECOND)
    assert {"count": 3} == point.fields


def test_tap_minutes_are_bounded():
    maker = _maker(minutes_max=2)
    for minute in range(9):
        maker.count_taps([MINUTE0 + minute * 60 * SECOND], ["gate-1"])
    assert 9 == len(maker.of_taps(MINUTE0 + 3600 * SECOND))
    assert 2 == len(maker._taps)


def test_transitions_are_written_once_an_hour_with_the_two_hours_before():
    asked = []

    def read(from_ns, to_ns):
        asked.append((to_ns - hour) // HOUR_NS)
        return [
            Transition(layer="main", from_zone="a", to_zone="b", count=1, median_s=2.0, p90_s=3.0)
        ]

    maker = _maker()
    hour = T0 // HOUR_NS * HOUR_NS
    assert [] == maker.of_hour(T0, read)
    assert [] == maker.of_hour(T0 + 1, read)
    points = maker.of_hour(hour + HOUR_NS, read)
    assert [-1, 0, 1] == asked
    assert hour + HOUR_NS == points[-1].t_ns
    assert [] == maker.of_hour(hour + HOUR_NS + SECOND, read)
