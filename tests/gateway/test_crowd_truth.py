"""How many people were there: the estimates of a simulated crowd against its truth."""

import argparse

import numpy as np
import pytest

from analytics.geometry import points_in_polygon
from fanous.program import main
from gateway import analyze
from ingest.files import read_columns
from ingest.store_file import read_store

MINUTE_NS = 60 * 10**9
MINUTES = 10
COLUMNS = ("t_ns", "zone", "tagged", "tagged_sigma", "people", "people_sigma")


@pytest.fixture(scope="module")
def busy(tmp_path_factory):
    """Ten minutes of a busy shop, with a survey of the same air, analysed."""
    folder = tmp_path_factory.mktemp("crowd")
    assert 0 == main(["simulate", "walk", "--minutes", "4", "--out", str(folder / "walk")])
    words = ["simulate", "busy", "--minutes", str(MINUTES), "--seed", "2"]
    assert 0 == main([*words, "--out", str(folder / "day")])
    store = str(folder / "day" / "store.toml")
    survey = str(folder / "walk" / "survey.csv.gz")
    fit = ["survey", "fit", survey, "--store", store]
    assert 0 == main([*fit, "--out", str(folder / "map.npz")])
    parser = argparse.ArgumentParser()
    analyze.configure(parser)
    words = [str(folder / "day" / "readings.csv"), "--store", store]
    words += ["--taps", str(folder / "day" / "taps.csv"), "--radio-map", str(folder / "map.npz")]
    assert 0 == analyze.run(parser.parse_args([*words, "--out", str(folder / "out")]))
    return folder


def true_people(folder, store):
    """Return the mean number of people per whole minute and zone."""
    truth = read_columns(folder / "day" / "truth.csv", required=["t_ns", "x_m", "y_m"])
    minute = truth["t_ns"] // MINUTE_NS
    moments = np.unique(truth["t_ns"])
    found = {}
    for zone in store.zones:
        here = points_in_polygon(truth["x_m"], truth["y_m"], zone.polygon_m)
        for at in np.unique(minute).tolist():
            count = (here & (minute == at)).sum()
            found[(at + 1) * MINUTE_NS, zone.id] = count / (moments // MINUTE_NS == at).sum()
    return found


def test_nine_minutes_of_ten_lie_within_two_sigma(busy):
    store = read_store(busy / "day" / "store.toml")
    rows = read_columns(busy / "out" / "occupancy_estimates.parquet", required=COLUMNS)
    true = true_people(busy, store)
    ends = sorted({t_ns for t_ns, _ in true})[1:-1]
    inner = np.isin(rows["t_ns"], ends)
    expected = np.array(
        [true[key] for key in zip(rows["t_ns"][inner].tolist(), rows["zone"][inner], strict=True)]
    )
    assert (MINUTES - 2) * len(store.zones) == len(expected)
    wrong = np.abs(rows["tagged"][inner] - expected)
    sigma = rows["tagged_sigma"][inner]
    assert (wrong <= 2 * sigma).mean() >= 0.9
    # Not because sigma is large: the estimates are closer than the rounded counts of decisions.
    assert sigma.mean() < 1.0
    counts = read_columns(busy / "out" / "occupancy.parquet", required=("t_ns", "people"))
    counted = counts["people"][np.isin(counts["t_ns"], ends)]
    assert np.sqrt((wrong**2).mean()) < np.sqrt(((counted - expected) ** 2).mean())
    assert rows["people"].tolist() == rows["tagged"].tolist()


def test_heat_is_the_time_that_people_were_there(busy):
    heat = read_columns(busy / "out" / "heat.parquet", required=("t_ns", "person_s"))
    truth = read_columns(busy / "day" / "truth.csv", required=["t_ns"])
    person_s = len(truth["t_ns"]) * np.diff(np.unique(truth["t_ns"])).min() / 1e9
    assert {0} == set((heat["t_ns"] % (900 * 10**9)).tolist())
    assert heat["person_s"].sum() == pytest.approx(person_s, rel=0.05)
