"""The accuracy gate: no figure may worsen by more than 5 per cent (see `benchmarks/README.md`).

What is expected stands in `accuracy.json`, which `benchmarks/freeze.py` writes.
"""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from tests.recordings import ROOT, recordings

pytestmark = pytest.mark.system

EXPECTED_FILE = Path(__file__).with_name("accuracy.json")
EXPECTED = json.loads(EXPECTED_FILE.read_text("utf-8")) if EXPECTED_FILE.exists() else {}


def _script(name):
    """Load a module that the benchmarks share; they are scripts and no package."""
    spec = importlib.util.spec_from_file_location(
        f"benchmarks_{name}", ROOT / "benchmarks" / f"{name}.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


accuracy, gate = _script("accuracy"), _script("accuracy_gate")


def expected_of(prefix):
    if not EXPECTED:
        pytest.skip("no accuracy.json yet: benchmarks/freeze.py writes it once the core is final")
    return {name: value for name, value in EXPECTED.items() if name.startswith(prefix + " / ")}


def frozen_cases():
    return sorted({tuple(name.split(" / ")[:2]) for name in EXPECTED if name[:4] != "shop"})


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Return a function that gives a place, its survey fitted once for all tests."""
    folder = tmp_path_factory.mktemp("places")
    made = {}

    def place(name):
        if name not in made:
            made[name] = accuracy.Place(name, folder)
        return made[name]

    return place


@pytest.mark.recordings
@pytest.mark.xdist_group("accuracy")
@pytest.mark.parametrize(("place", "case"), frozen_cases())
def test_no_figure_of_the_recordings_worsened(place, case, places):
    recordings()
    found = places(place).measure(accuracy.cases(place)[case])
    prefix = f"{place} / {case}"
    worse = gate.worsened(expected_of(prefix), accuracy.flat_figures(prefix, found))
    assert not worse, "\n".join(worse)


def test_no_figure_of_the_simulated_shop_worsened(tmp_path):
    expected = expected_of("shop")
    worse = gate.worsened(expected, accuracy.measured_shop(tmp_path))
    assert not worse, "\n".join(worse)


def test_every_case_is_frozen():
    recordings()
    if not EXPECTED:
        pytest.skip("no accuracy.json yet: benchmarks/freeze.py writes it once the core is final")
    known = {(place, case) for place in accuracy.WALKS for case in accuracy.cases(place)}
    assert known == set(frozen_cases())


BEFORE = {
    "x / pooled / final.mean_m": 1.0,
    "x / pooled / live.mean_m": 0.1,
    "x / pooled / final.accuracy": 0.8,
    "x / pooled / dwells.error": 0.05,
    "x / pooled / final.switches": 13,
    "x / pooled / true_switches": 12,
    "x / pooled / dwells.false": None,
}


@pytest.mark.parametrize(
    ("figure", "allowed", "refused"),
    [
        ("final.mean_m", 1.049, 1.051),
        ("live.mean_m", 0.119, 0.121),  # 2 cm are noise
        ("final.accuracy", 0.761, 0.759),
        ("dwells.error", 0.059, 0.061),  # and so is a hundredth
        ("final.switches", 14, 15),
        ("final.switches", 10, 9),
        ("true_switches", 12, 11),
        ("dwells.false", 0.5, "missing"),  # where nothing was known, anything goes
        ("final.mean_m", 0.1, None),
    ],
)
def test_the_gate_lets_noise_pass_and_nothing_more(figure, allowed, refused):
    name = f"x / pooled / {figure}"
    assert gate.worsened(BEFORE, {**BEFORE, name: allowed}) == []
    worse = {**BEFORE, name: refused}
    if refused == "missing":
        del worse[name]
    [sentence] = gate.worsened(BEFORE, worse)
    assert sentence.startswith(f"{name}: expected ")


def test_calibration_counts_what_was_said_and_what_was_true(tmp_path):
    rows = ["t_ns,tag,stage,layer,zone,zone_state,zone_p,x_m,y_m,sigma_m"]
    second = 10**9
    said = [("a", "known", 0.9), ("b", "known", 0.85), ("", "unknown", ""), ("", "outside", 0.7)]
    for tick, (zone, state, p) in enumerate(said, 1):
        rows.append(f"{tick * second},name:x,live,main,{zone},{state},{p},1,1,1")
        rows.append(f"{tick * second},name:x,final,main,a,known,0.95,1,1,1")
    (tmp_path / "positions.csv").write_text("\n".join(rows) + "\n")
    truth = tmp_path / "truth.csv"
    lines = [f"{tick * second},name:x,{1 if tick < 4 else 9},1" for tick in range(1, 5)]
    truth.write_text("\n".join(["t_ns,tag,x_m,y_m", *lines]) + "\n")
    store = tmp_path / "store.toml"
    square = "[[{0}, 0], [{1}, 0], [{1}, 2], [{0}, 2]]"
    store.write_text(
        'schema = "fanous.store/1"\nid = "s"\ntimezone = "UTC"\n'
        '[[receiver]]\nid = "r"\nposition_m = [0, 0, 2]\n'
        + "".join(
            f'[[zone]]\nid = "{name}"\nkind = "aisle"\npolygon_m = {square.format(at, at + 2)}\n'
            for name, at in (("a", 0), ("b", 4))
        )
    )
    zone_p, right = accuracy.reliability(tmp_path, [truth], store, "live")
    assert zone_p.tolist() == [0.9, 0.85, 0.7]
    assert right.tolist() == [True, False, True]
    _, right = accuracy.reliability(tmp_path, [truth], store, "final")
    assert right.tolist() == [True, True, True, False]
