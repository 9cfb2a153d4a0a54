"""The whole program over real recordings: survey, analysis, figures against the truth."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from fanous.program import main
from tests.recordings import read_rows, recordings, tetam_walks, write_rows

pytestmark = [pytest.mark.recordings, pytest.mark.system]

Figures = Callable[..., tuple[dict[str, dict[str, float]], Path]]


@pytest.fixture
def figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Figures:
    """Return a function that analyses files and gives position figures and the directory."""
    store = recordings() / "tetam" / "store.toml"
    readings, truths = tetam_walks()
    radio_map = tmp_path / "radio-map.npz"
    survey = store.with_name("survey_set_1.csv.gz")
    fit = ["survey", "fit", str(survey), "--store", str(store), "--out", str(radio_map)]
    assert 0 == main(fit)

    def analysed(name: str, files: list[Path] | None = None):
        out = tmp_path / name
        given = [str(path) for path in files or readings]
        options = ["--store", str(store), "--radio-map", str(radio_map), "--format", "csv"]
        assert 0 == main(["analyze", *given, *options, "--out", str(out)])
        capsys.readouterr()
        assert 0 == main(["evaluate", str(out), "--truth", *map(str, truths), "--json"])
        return json.loads(capsys.readouterr().out)["position"], out

    return analysed


def changed(folder: Path, change: Callable[[list[list[str]]], list[list[str]]]) -> list[Path]:
    """Write changed copies of the four walks."""
    folder.mkdir()
    copies = []
    for path in tetam_walks()[0]:
        header, rows = read_rows(path)
        copies.append(folder / path.name)
        write_rows(copies[-1], header, change(rows))
    return copies


def test_four_walks_are_located_and_a_weaker_tag_as_well(figures: Figures, tmp_path: Path) -> None:
    position, _ = figures("plain")
    assert position["live"]["mean_m"] <= 1.20
    assert position["final"]["mean_m"] <= 1.00
    assert position["live"]["rows"] > 250
    assert position["live"]["unknown"] < 0.02

    def weaker(rows: list[list[str]]) -> list[list[str]]:
        return [[*row[:3], str(float(row[3]) - 12)] for row in rows]

    weak, _ = figures("weak", changed(tmp_path / "weaker", weaker))
    for stage in ("live", "final"):
        assert weak[stage]["mean_m"] <= position[stage]["mean_m"] + 0.1


def test_order_and_repetition_do_not_change_a_single_row(figures: Figures, tmp_path: Path) -> None:
    def shuffled_and_doubled(rows: list[list[str]]) -> list[list[str]]:
        twice = rows + rows
        random.Random(7).shuffle(twice)
        return twice

    _, plain = figures("plain")
    files = changed(tmp_path / "mixed", shuffled_and_doubled)
    _, mixed = figures("mixed-out", files[::-1])
    tables = sorted(path.name for path in plain.glob("*.csv"))
    assert "positions.csv" in tables
    for name in tables:
        assert (plain / name).read_bytes() == (mixed / name).read_bytes(), name
