"""The heat map over HTTP."""

import pytest

from analytics.rows import Heat, Output
from gateway.result_store import Step, Trail
from tests.gateway.http_rig import Rig, fill
from tests.gateway.samples import SECOND, T0


@pytest.fixture
def rig(tmp_path):
    made = Rig(tmp_path)
    yield made
    made.results.close()


def test_the_heat_map_counts_ticks_per_cell(rig):
    fill(rig.results)
    body = rig.get_json("/api/v1/heatmap?cell_m=1")
    assert [{"x_m": 0.5, "y_m": 0.5, "ticks": 2}] == body["rows"]


QUARTER = 900 * SECOND


def _heat(results, *rows):
    heat = [
        Heat(t_ns=T0 + at * QUARTER, floor=floor, x_m=x_m, y_m=y_m, person_s=person_s)
        for at, floor, x_m, y_m, person_s in rows
    ]
    results.save(Output(heat=heat), Step(journal_id=2, watermark_ns=T0))


def test_the_heat_map_is_made_of_the_beliefs_where_they_are_stored(rig):
    fill(rig.results)
    _heat(
        rig.results,
        *((0, "0", 0.75, 0.5, 3.0), (1, "0", 0.75, 0.5, 4.1), (1, "0", 1.75, 0.5, 0.1)),
        *((1, "up", 0.75, 0.5, 7.0), (9, "0", 0.75, 0.5, 9.0)),
    )
    body = rig.get_json(f"/api/v1/heatmap?from={T0 - 1}&to={T0 + QUARTER}")
    assert [
        {"x_m": 0.75, "y_m": 0.5, "ticks": 7.1},
        {"x_m": 1.75, "y_m": 0.5, "ticks": 0.1},
    ] == body["rows"]
    assert {"cell_m", "from_ns", "to_ns", "rows", "next"} == set(body)
    assert (1.0, T0 - QUARTER, T0 + QUARTER) == (body["cell_m"], body["from_ns"], body["to_ns"])
    body = rig.get_json(f"/api/v1/heatmap?from={T0}&to={T0 + QUARTER}&floor=up")
    assert [{"x_m": 0.75, "y_m": 0.5, "ticks": 7.0}] == body["rows"]


def test_the_heat_map_is_the_last_hour_unless_asked_and_may_be_coarser(rig):
    rows = ((at, "0", 0.5 + at, 0.5, 1.0) for at in range(8))
    _heat(rig.results, *rows)
    found = rig.get_json("/api/v1/heatmap")["rows"]
    assert [4.5, 5.5, 6.5, 7.5] == [row["x_m"] for row in found]
    body = rig.get_json("/api/v1/heatmap?from=0&cell_m=4")
    assert [(2.0, 4.0), (6.0, 4.0)] == [(row["x_m"], row["ticks"]) for row in body["rows"]]
    assert 1.0 == rig.get_json("/api/v1/heatmap?cell_m=0.2")["cell_m"]


def test_live_positions_stand_in_for_a_period_without_beliefs(rig):
    fill(rig.results)
    _heat(rig.results, (-99, "0", 0.5, 0.5, 3.0))
    body = rig.get_json("/api/v1/heatmap")
    assert (0.5, [{"x_m": 0.25, "y_m": 0.25, "ticks": 2}]) == (body["cell_m"], body["rows"])


def test_live_positions_of_other_floors_are_not_added(rig):
    trail = Trail(
        t_ns=[T0, T0, T0], tag=["a", "b", "c"], zone=[0, 0, 0], floor=["0", "up", "up"],
        x_m=[0.2, 0.2, 0.2], y_m=[0.2, 0.2, 0.2],
    )  # fmt: skip
    rig.results.save(Output(), Step(journal_id=1, watermark_ns=T0), trail=trail)
    ticks = [
        [row["ticks"] for row in rig.get_json(f"/api/v1/heatmap?floor={floor}")["rows"]]
        for floor in ("0", "up", "", "none")
    ]
    assert [[1], [2], [1], []] == ticks
