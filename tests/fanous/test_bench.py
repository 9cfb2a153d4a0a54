"""`fanous bench`: every name runs in its small size and prints what the contract says."""

import json
import math
import os
import sys

import numpy as np
import pytest

from analytics.cells import build_cells
from fanous import bench
from fanous.benchmarks import crowd, pipeline
from fanous.benchmarks.figure import Figure, best_cpu_s
from fanous.program import main

ELSEWHERE = {"pipeline", "faults", "bluetooth", "edge"}
"""Run by tests of their own, here or in tests/fanous/test_bench_devices.py, tests/system."""
MEASURED = [name for name in bench.BENCHMARKS if name not in ELSEWHERE]


def figures_of(capsys, *words):
    assert main(["bench", *words, "--quick", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def check_form(rows, name):
    assert rows
    for row in rows:
        assert list(row) == ["name", "value", "unit", "better", "peer"]
        assert row["name"].startswith(name + ".")
        assert row["unit"]
        assert row["better"] in {"higher", "lower"}
        assert all(math.isfinite(value) and value > 0 for value in row["peer"].values())
    assert len({row["name"] for row in rows}) == len(rows)


@pytest.mark.parametrize("name", MEASURED)
def test_every_benchmark_runs(name, capsys):
    rows = figures_of(capsys, name)
    check_form(rows, name)
    assert all(math.isfinite(row["value"]) and row["value"] > 0 for row in rows)


@pytest.mark.system
def test_the_pipeline_loses_nothing(capsys):
    if pipeline.find_mosquitto() is None:
        sentence = "mosquitto is not installed; apt-get install it to run this test"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(sentence)
    rows = figures_of(capsys, "pipeline")
    check_form(rows, "pipeline")
    values = {row["name"]: row["value"] for row in rows}
    assert values.pop("pipeline.lost_coarse") == 0
    assert values["pipeline.readings_coarse"] > 0
    assert all(value >= 0 for value in values.values())  # the broker may need less than a tick


def test_an_unknown_name_is_refused_with_the_nearest(capsys):
    assert main(["bench", "profile"]) == 2
    captured = capsys.readouterr()
    assert "fanous bench: unknown benchmark 'profile' (did you mean 'profiles'?)" in captured.err
    assert captured.out == ""


def test_without_mosquitto_the_pipeline_is_left_out_or_refused(capsys, monkeypatch):
    monkeypatch.setattr(pipeline, "find_mosquitto", lambda: None)
    monkeypatch.setattr(bench, "BENCHMARKS", {"pipeline": bench.BENCHMARKS["pipeline"]})
    assert main(["bench", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == []
    assert "pipeline: left out: pipeline: expected mosquitto on the PATH" in captured.err
    assert main(["bench", "pipeline"]) == 2


def test_without_names_all_are_run_in_order(capsys, monkeypatch):
    module = type(sys)("measured")
    for name, value in (("one", 1234.5), ("two", 0.25)):
        figure = Figure(
            name=f"{name}.rate", value=value, unit="rows/s", better="higher", peer={"other": 0.5}
        )
        setattr(module, name, lambda *, quick, say, figure=figure: (figure,))
    monkeypatch.setitem(sys.modules, "measured", module)
    monkeypatch.setattr(bench, "BENCHMARKS", {"one": "measured:one", "two": "measured:two"})
    assert main(["bench"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "name      value  unit    better  peer",
        "one.rate  1,234  rows/s  higher  other 0.5 (2.5e+03 x)",
        "two.rate   0.25  rows/s  higher  other 0.5 (0.5 x)",
    ]


def test_of_many_peers_the_table_names_the_best(capsys, monkeypatch):
    module = type(sys)("measured")
    peer = {f"rule-{number}": number / 10 for number in range(1, 8)}
    figures = tuple(
        Figure(name=f"one.{better}", value=0.5, unit="of it", better=better, peer=peer)
        for better in ("higher", "lower")
    )
    module.one = lambda *, quick, say: figures
    monkeypatch.setitem(sys.modules, "measured", module)
    monkeypatch.setattr(bench, "BENCHMARKS", {"one": "measured:one"})
    assert main(["bench"]) == 0
    _, higher, lower = capsys.readouterr().out.splitlines()
    assert higher.endswith("best of 7: rule-7 0.7 (0.71 x)")
    assert lower.endswith("best of 7: rule-1 0.1 (5 x)")


def test_the_best_of_some_runs_counts():
    ticks = iter([0.0, 5.0, 10.0, 12.0, 20.0, 24.0])
    done = []
    assert best_cpu_s(lambda: done.append(1), repeats=3, clock_s=lambda: next(ticks)) == 2.0
    assert len(done) == 3


def test_the_crowd_is_the_same_for_the_same_seed():
    store = crowd.demo_store()
    first = crowd.make_readings(store, tags=20, seconds=30, seed=4)
    again = crowd.make_readings(store, tags=20, seconds=30, seed=4)
    other = crowd.make_readings(store, tags=20, seconds=30, seed=5)
    assert len(first) == 20 * 30 * 7
    for name in ("t_ns", "receiver", "tag", "rssi_dbm"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert not np.array_equal(first.rssi_dbm, other.rssi_dbm)
    assert np.all(np.diff(first.t_ns) >= 0)


def test_people_of_a_day_come_and_go():
    day = crowd.make_day(crowd.day_store(), tags=50, active=10, seconds=500, seed=1)
    assert len(day) == 50 * 100 * 7
    assert np.all(np.diff(day.t_ns) >= 0)
    t_s = (day.t_ns - crowd.START_NS) / 1e9
    heard = [t_s[day.tag == tag] for tag in range(50)]
    assert max(np.ptp(times) for times in heard) <= 100
    middle = [int(((times > 200) & (times < 201)).any()) for times in heard]
    assert 3 <= sum(middle) <= 20


def test_the_measured_stores_have_the_cells_that_are_said():
    assert len(build_cells(crowd.plan_store())) == 250
    day = crowd.day_store()
    assert (len(day.zones), len(day.receivers)) == (40, 12)
    assert len(build_cells(day)) == 300
    assert 40 <= len(build_cells(crowd.zone_states(day))) <= 50
    assert 10 <= len(build_cells(crowd.zone_states(crowd.demo_store()))) <= 15
