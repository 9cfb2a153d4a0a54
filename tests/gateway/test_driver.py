import dataclasses
import json
import math

import numpy as np
import pytest

from gateway.driver import Driver
from ingest.columns import decode_batch
from ingest.tag_table import TagTable
from tests.gateway.fake_engine import FakeEngine
from tests.gateway.samples import ANNA, BEN, SECOND, STORE, T0, readings, samples, taps


class Told:
    def __init__(self):
        self.sentences = []

    def __call__(self, sentence):
        self.sentences.append(sentence)


def _driver(clock="data", told=None, tags=None, **more):
    return Driver(
        STORE,
        lambda name_of: FakeEngine(STORE, name_of),
        clock=clock,
        silent_s=30.0,
        report=told or Told(),
        tags=tags,
        **more,
    )


def _feed(driver, payload, received_ns=T0):
    return driver.feed(decode_batch(payload), received_ns)


def test_names_become_indices_and_rssi_is_rounded():
    driver = _driver()
    _feed(driver, readings(1, [(T0, "rx-2", ANNA, -60.26), (T0 + 1, "rx-1", BEN, -71)]))
    assert [(T0, 1, 0, -60.3), (T0 + 1, 0, 1, -71.0)] == driver.engine.rows
    assert {"ble": 2} == dict(driver.counts.used)


def test_impossible_and_unknown_rows_are_dropped_counted_and_told_once():
    told = Told()
    driver = _driver(told=told)
    rows = [
        (T0, "rx-1", ANNA, -60),
        (T0, "rx-1", ANNA, 99),
        (T0, "rx-1", ANNA, math.nan),
        (T0, "rx-9", ANNA, -60),
        (T0, "rx-9", ANNA, -61),
    ]
    _feed(driver, readings(1, rows))
    _feed(driver, readings(2, rows))
    assert 2 == len(driver.engine.rows)
    assert {"rssi_impossible": 4, "receiver_unknown": 4} == dict(driver.counts.dropped)
    assert {"receiver rx-9": 4} == dict(driver.counts.unknown)
    assert 1 == len(told.sentences)
    assert "'rx-9'" in told.sentences[0]
    assert "2 rows" in told.sentences[0]


def test_samples_take_the_column_of_their_sensors_kind():
    driver = _driver()
    rows = [(T0, "plate-1", 1234.0, None), (T0, "eye-1", None, 87.0), (T0, "eye-1", 5.0, None)]
    _feed(driver, samples(1, rows))
    assert [(T0, 0, 1234.0), (T0, 1, 87.0)] == driver.engine.samples
    assert {"sample_impossible": 1} == dict(driver.counts.dropped)


def test_taps_are_told_by_name():
    driver = _driver()
    found = _feed(driver, taps(1, [(T0, "gate-1", ANNA), (T0 + 1, "gate-7", BEN)]))
    assert ([T0], ["gate-1"], [ANNA]) == (found.t_ns, found.tap_point, found.tag)
    assert {"tap_point_unknown": 1} == dict(driver.counts.dropped)


def test_the_wall_clock_sets_aside_what_cannot_be_now():
    driver = _driver(clock="wall")
    hour = 3600 * SECOND
    rows = [
        (T0 + 61 * SECOND, "rx-1", ANNA, -60),
        (T0 + 59 * SECOND, "rx-1", ANNA, -60),
        (T0 - 73 * hour, "rx-1", ANNA, -60),
        (T0 - 71 * hour, "rx-1", ANNA, -60),
    ]
    _feed(driver, readings(1, rows))
    assert {"time_ahead": 1, "time_behind": 1} == dict(driver.counts.dropped)
    assert 2 == len(driver.engine.rows)


def test_a_clock_that_is_far_ahead_does_not_close_ticks():
    driver = _driver(clock="wall")
    _feed(driver, readings(1, [(T0 + 3600 * SECOND, "rx-1", ANNA, -60)]))
    assert driver.due_ns(T0) is None


def test_ticks_close_by_the_slowest_healthy_agent():
    driver = _driver()
    _feed(driver, readings(1, [(T0 + 10 * SECOND, "rx-1", ANNA, -60)]))
    _feed(driver, readings(1, [(T0 + 5 * SECOND, "rx-1", ANNA, -60)], agent="pi-2"))
    settled_ns = T0 + SECOND
    assert T0 + 4 * SECOND == driver.due_ns(settled_ns)
    driver.advance(T0 + 4 * SECOND)
    assert driver.due_ns(settled_ns) is None
    driver.watermark.set_online("pi-2", online=False)
    assert T0 + 9 * SECOND == driver.due_ns(settled_ns)


def test_a_batch_that_says_nothing_of_completeness_closes_ticks_when_its_siblings_had_time():
    driver = _driver()
    _feed(driver, readings(1, [(T0 + at * SECOND, "rx-1", ANNA, -60) for at in range(10)]))
    _feed(driver, taps(1, [(T0 + 2 * SECOND, "gate-1", ANNA)]), T0 + SECOND // 4)
    assert driver.due_ns(T0 + SECOND // 4) <= T0
    assert T0 + 8 * SECOND == driver.due_ns(T0 + SECOND // 2)


@pytest.mark.parametrize(("kind", "columns"), [("ble", b""), ("tap", b""), ("sample", b"{}")])
def test_a_batch_that_stands_for_dropped_rows_needs_no_columns(kind, columns):
    driver = _driver()
    body = {"store": "demo", "agent": "pi-1", "boot": "b1", "kind": kind, "seq": 1, "sent_ns": 1}
    body |= {"schema": "fanous.batch/1", "dropped": 3, "reason": "outbox_full"}
    if columns:
        body["columns"] = json.loads(columns)
    assert _feed(driver, json.dumps(body).encode()) is None
    assert {} == dict(driver.counts.used)
    assert driver.due_ns(T0) is None


def test_late_rows_are_counted():
    driver = _driver()
    _feed(driver, readings(1, [(T0 + 10 * SECOND, "rx-1", ANNA, -60)]))
    driver.advance(T0 + 9 * SECOND)
    _feed(driver, readings(2, [(T0, "rx-1", ANNA, -60), (T0 + 9 * SECOND, "rx-1", ANNA, -60)]))
    assert {"ble": 1} == dict(driver.counts.late)


def test_a_full_tag_table_is_counted():
    driver = _driver(tags=TagTable(1))
    _feed(driver, readings(1, [(T0, "rx-1", ANNA, -60), (T0, "rx-1", BEN, -60)]))
    assert {"tag_table_full": 1} == dict(driver.counts.dropped)


def test_old_tags_are_forgotten_but_not_those_the_engine_follows():
    driver = _driver()
    _feed(driver, readings(1, [(T0, "rx-1", ANNA, -60)]))
    _feed(driver, taps(1, [(T0, "gate-1", BEN)]))
    driver.advance(T0 + 3600 * SECOND)
    assert 2 == len(driver.tags), "ids of the last output stay known"
    driver.advance(T0 + 3601 * SECOND)
    assert [ANNA] == driver.tags.names(np.array([0], dtype=np.int32))
    assert 1 == len(driver.tags)


def test_a_time_that_is_set_aside_keeps_no_tag():
    driver = _driver(clock="wall")
    _feed(driver, readings(1, [(T0 + 3600 * SECOND, "rx-1", ANNA, -60)]))
    _feed(driver, taps(1, [(T0 + 3600 * SECOND, "gate-1", BEN)]))
    assert 0 == len(driver.tags)


def test_the_trail_has_live_rows_of_the_main_layer():
    driver = _driver()
    _feed(driver, readings(1, [(T0, "rx-1", ANNA, -60)]))
    trail = driver.trail(driver.advance(T0 + SECOND))
    assert ([T0 + SECOND], [ANNA], [1.0]) == (list(trail.t_ns), list(trail.tag), list(trail.x_m))


def test_an_empty_batch_is_nothing():
    driver = _driver()
    assert _feed(driver, readings(1, [])) is None
    assert driver.due_ns(T0) is None


@pytest.mark.parametrize("many", [100])
def test_unknown_names_are_bounded(many):
    told = Told()
    driver = _driver(told=told)
    _feed(driver, readings(1, [(T0, f"rx-{at + 10}", ANNA, -60) for at in range(many)]))
    assert 64 == len(told.sentences)
    assert 36 == driver.counts.unknown["others"]


def test_staff_are_counted_by_tag_and_not_as_readings_dropped():
    store = dataclasses.replace(STORE, staff_tags=(BEN,))
    driver = Driver(
        store,
        lambda name_of: FakeEngine(store, name_of),
        clock="data",
        silent_s=30.0,
        report=Told(),
    )
    _feed(driver, readings(1, [(T0, "rx-1", ANNA, -60), (T0, "rx-1", BEN, -60)]))
    _feed(driver, taps(1, [(T0, "gate-1", BEN)]))
    assert 1 == driver.staff_tags_seen
    assert {"ble": 2, "tap": 1} == dict(driver.counts.used)
