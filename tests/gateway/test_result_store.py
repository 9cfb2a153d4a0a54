import dataclasses
import random
import sqlite3
from dataclasses import replace

import pytest

from analytics.flow import visit_counts
from analytics.rows import (
    Heat,
    Occupancy,
    OccupancyEstimate,
    Output,
    ReceiverHealth,
    ShelfEvent,
    ShelfStock,
)
from gateway.engine_room import Trail
from gateway.events import Message
from gateway.flow import stored_visit_counts, transitions_between
from gateway.result_store import ResultStore, Step
from gateway.result_tables import COLUMNS
from tests.gateway.rows import dwell, visit
from tests.gateway.samples import ANNA, BEN, SECOND, T0

STEP = Step(journal_id=1, watermark_ns=T0)


@pytest.fixture
def results(tmp_path):
    made = ResultStore(tmp_path / "results.sqlite", positions_max=100, lines_max=10, events_max=5)
    yield made
    made.close()


def _event(status, **more):
    given = {
        "event": "e1",
        "t_ns": T0,
        "shelf": "shoes-1",
        "sensor": "plate-1",
        "gtin": None,
        "kind": "pick",
        "status": status,
        "quantity": 1,
        "delta_g": -640.0,
        "confidence": 0.9,
    }
    return ShelfEvent(**{**given, **more})


def test_writing_rows_again_changes_nothing(results):
    output = Output(dwells=[dwell("d1", T0), dwell("d2", T0)], visits=[visit("v1", T0)])
    results.save(output, STEP)
    results.save(output, STEP)
    counts = results.counts()
    assert (2, 1) == (counts["dwells"], counts["visits"])


def test_a_later_state_of_an_event_replaces_the_earlier(results):
    results.save(Output(shelf_events=[_event("provisional")]), STEP)
    assert 0 == results.counts()["shelf_events"]
    results.save(Output(shelf_events=[_event("final")]), STEP)
    assert 1 == results.counts()["shelf_events"]
    assert [("final",)] == results.query("SELECT status FROM shelf_events")


def test_empty_cells_and_nan_are_null(results):
    stock = ShelfStock(
        t_ns=T0, shelf="s", gtin="g", quantity=1, sigma=float("nan"), mass_g=None, state="ok"
    )
    results.save(Output(shelf_stock=[stock]), STEP)
    assert [(None, None)] == results.query("SELECT sigma, mass_g FROM shelf_stock")


def test_a_step_is_stored_whole_or_not_at_all(results):
    bad = Output(
        dwells=[dwell("d1", T0)], occupancy=[Occupancy(t_ns=T0, layer="m", zone=None, people=1)]
    )
    with pytest.raises(sqlite3.IntegrityError):
        results.save(bad, Step(journal_id=9, watermark_ns=T0), lines=[b"x"])
    assert 0 == results.counts()["dwells"]
    assert (0, []) == results.progress()
    assert (0, b"", 0, False) == results.next_lines(10)


def test_progress_and_steps(results):
    results.save(Output(), STEP)
    results.save(Output(), Step(journal_id=5, watermark_ns=None))
    results.save(Output(), Step(journal_id=7, watermark_ns=T0 + SECOND))
    second = Step(id=2, journal_id=7, watermark_ns=T0 + SECOND)
    assert (7, [replace(STEP, id=1), second]) == results.progress()
    assert (7, [second]) == results.progress(after_step=1)
    results.forget_steps(7)
    assert [second] == results.progress()[1]


def test_lines_wait_in_order_and_the_oldest_go_when_there_are_too_many(results):
    results.save(Output(), STEP, lines=[b"a", b"b"])
    results.queue(lines=[b"c"])
    assert (2, b"a\nb\nc", 3, False) == results.next_lines(100)
    assert (1, b"a\nb", 2, False) == results.next_lines(1)
    results.lines_sent(1, 1, [(b"b", "bad")])
    assert (2, b"c", 1, False) == results.next_lines(100)
    results.queue(lines=[b"d"] * 9 + [b"e"])
    assert (3, 10) == (results.next_lines(100)[0], results.next_lines(100)[2])
    counts = results.counts()
    assert (1, 1, 1) == tuple(counts[f"points_{n}"] for n in ("written", "refused", "dropped"))


def test_events_wait_and_the_oldest_go_when_there_are_too_many(results):
    events = [Message(topic="t", payload=b"%d" % at) for at in range(7)]
    results.save(Output(), STEP, events=events)
    waiting = results.next_events(0, 100)
    assert [b"2", b"3", b"4", b"5", b"6"] == [payload for _, _, payload in waiting]
    assert 2 == results.counts()["events_dropped"]
    results.events_sent(waiting[1][0])
    assert 3 == len(results.next_events(0, 100))
    assert 2 == results.counts()["events_published"]


def test_positions_are_the_last_hour_and_bounded(results):
    def trail(seconds):
        n = len(seconds)
        return Trail(
            t_ns=[T0 + s * SECOND for s in seconds],
            tag=[ANNA] * n,
            zone=[0] * n,
            floor=["0"] * n,
            x_m=[1.0] * n,
            y_m=[1.0] * n,
        )

    results.save(Output(), STEP, trail=trail([0, 1800]))
    results.save(Output(), STEP, trail=trail([3700]))
    seconds = "SELECT t_ns FROM trail ORDER BY t_ns"
    assert [1800, 3700] == [(t - T0) // SECOND for (t,) in results.query(seconds)]
    results.save(Output(), STEP, trail=trail(list(range(3701, 3900))))
    assert 100 == len(results.query(seconds))
    assert 3899 == max((t - T0) // SECOND for (t,) in results.query(seconds))


def test_transitions_belong_to_the_stretch_in_which_the_second_stay_begins(results):
    stays = [
        dwell("a1", T0, visit="a", zone="shoes", seconds=10),
        dwell("a2", T0 + 20 * SECOND, visit="a", zone="promo", seconds=10),
        dwell("b1", T0, visit="b", zone="shoes", tag=BEN, seconds=10),
        dwell("b2", T0 + 40 * SECOND, visit="b", zone="promo", tag=BEN, seconds=10),
    ]
    results.save(Output(dwells=stays), STEP)
    (both,) = transitions_between(results, 0, T0 + 3600 * SECOND)
    assert ("shoes", "promo", 2, 20.0) == (
        both.from_zone,
        both.to_zone,
        both.count,
        both.median_s,
    )
    (late,) = transitions_between(results, T0 + 30 * SECOND, T0 + 3600 * SECOND)
    assert (1, 30.0) == (late.count, late.median_s)
    assert [] == transitions_between(results, 0, T0 + 3600 * SECOND, layer="other")


def test_estimates_heat_and_receivers_are_kept_by_their_keys(results):
    estimate = OccupancyEstimate(
        t_ns=T0, layer="main", zone="shoes", tagged=1.5, tagged_sigma=0.5, people=3.0,
        people_sigma=2.1,
    )  # fmt: skip
    heat = [
        Heat(t_ns=T0, floor=floor, x_m=x_m, y_m=0.5, person_s=9.9)
        for floor, x_m in (("0", 0.5), ("0", 1.5), ("up", 0.5))
    ]
    health = [
        ReceiverHealth(receiver="rx-1", state=state, since_ns=T0 + at, offset_db=None, reason="")
        for at, state in enumerate(("deaf", "ok"))
    ]
    output = Output(occupancy_estimates=[estimate], heat=heat, receiver_health=health)
    for _ in range(2):
        results.save(output, STEP)
    count = "SELECT (SELECT count(*) FROM heat), (SELECT count(*) FROM receiver_health)"
    assert [(3, 2)] == results.query(count)
    assert [(1.5, 0.5, 3.0, 2.1)] == results.query(
        "SELECT tagged, tagged_sigma, people, people_sigma FROM occupancy_estimates"
    )


def test_pass_bys_add_up(results):
    results.save(Output(), STEP)
    assert 0 == results.counts().get("pass_bys", 0)
    results.save(Output(), STEP, pass_bys=2)
    results.save(Output(), STEP, pass_bys=1)
    assert 3 == results.counts()["pass_bys"]


def test_what_became_of_visits_is_counted_as_in_the_files(results):
    assert visit_counts([], [], bounce_s=120.0) == stored_visit_counts(results, bounce_s=120.0)
    rng = random.Random(3)
    visits, dwells = [], []
    for at in range(200):
        name = f"v{at}"
        row = visit(name, T0, seconds=rng.choice([60, 119, 120, 300]))
        visits.append(
            dataclasses.replace(
                row,
                taps=rng.choice([0, 0, 0, 1]),
                picks=rng.choice([0, 0, 0, 2]),
                shelf_s=rng.choice([0.0, 0.0, 8.0]),
            )
        )
        for n in range(rng.randrange(4)):
            stay = dwell(f"{name}-{n}", T0 + n, visit=name, seconds=rng.choice([5, 14, 15, 40]))
            dwells.append(dataclasses.replace(stay, layer=rng.choice(["main", "main", "other"])))
    results.save(Output(visits=visits, dwells=dwells), STEP)
    expected = visit_counts(visits, dwells, bounce_s=120.0)
    assert 0 < expected.bounces < expected.engaged_visits < 200
    assert expected == stored_visit_counts(results, bounce_s=120.0)


def test_the_columns_are_those_of_the_contract(results):
    for table, columns in COLUMNS.items():
        if table != "transitions":
            found = results.query(f"SELECT name FROM pragma_table_info('{table}')")
            assert [*columns, "closed_ns"] == [name for (name,) in found]
