"""The shelf core on the seeded generator: floors well under the figures of the benchmark."""

from dataclasses import replace

import pytest

from analytics.shelf import ShelfCore
from tests.analytics.shelf_score import score
from tests.analytics.shelf_signals import CONDITIONS, Condition, make_signals


def run(signals):
    core = ShelfCore(signals.store)
    core.add(signals.t_ns, signals.sensor, signals.value)
    return core.finish()


@pytest.mark.parametrize(
    ("name", "recall", "precision"),
    [
        ("default", 0.98, 0.97),
        ("5 Hz", 0.97, 0.96),
        ("re-zeros", 0.88, 0.90),
        ("touch and lean", 0.95, 0.92),
        ("restock heavy", 0.95, 0.93),
        ("busy 4/min", 0.96, 0.96),
    ],
)
def test_recall_and_precision(name, recall, precision):
    c = replace(CONDITIONS[name], secs=240.0, shelves=15, fs=min(CONDITIONS[name].fs, 20))
    signals = make_signals(7, c)
    s = score(signals, run(signals).events, c)
    assert s.truths >= 20
    assert recall <= s.recall
    assert precision <= s.precision


def test_idle_plates_raise_nothing():
    signals = make_signals(8, Condition(secs=600.0, fs=5), idle=True)
    assert [] == [e for e in run(signals).events if e.kind != "touch"]


def test_dead_plates_are_flagged_and_no_others():
    signals = make_signals(9, Condition(secs=120.0, fs=20, shelves=10))
    out = run(signals)
    names = [sensor.id for _, sensor in signals.store.sensors]
    dead = {n for n, is_dead in zip(names, signals.dead, strict=True) if is_dead}
    assert dead == {h.sensor for h in out.health if h.state == "stuck"}
