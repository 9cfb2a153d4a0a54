"""Learning from traffic on real walks: each judged with a map learned from the other three."""

import json
from pathlib import Path

import pytest

from fanous.program import main
from tests.recordings import recordings, tetam_walks

pytestmark = [pytest.mark.recordings, pytest.mark.system]


def means_leaving_one_out(
    folder: Path, capsys: pytest.CaptureFixture[str], *start: str
) -> tuple[float, float]:
    """Return the live and final means over all rows of the four walks [m]."""
    store = str(recordings() / "tetam" / "store.toml")
    readings, truths = tetam_walks()
    sums = {"live": 0.0, "final": 0.0}
    rows = dict.fromkeys(sums, 0)
    for walk, truth in zip(readings, truths, strict=True):
        others = [str(path) for path in readings if path != walk]
        learned, out = str(folder / f"{walk.stem}.npz"), str(folder / walk.stem)
        options = ["--store", store, "--out", learned]
        assert 0 == main(["survey", "learn", *others, *options, *start])
        options = ["--store", store, "--radio-map", learned, "--format", "csv"]
        assert 0 == main(["analyze", str(walk), *options, "--out", out])
        capsys.readouterr()
        assert 0 == main(["evaluate", out, "--truth", str(truth), "--json"])
        position = json.loads(capsys.readouterr().out)["position"]
        for stage in sums:
            sums[stage] += position[stage]["mean_m"] * position[stage]["rows"]
            rows[stage] += position[stage]["rows"]
    assert rows["live"] > 250
    return sums["live"] / rows["live"], sums["final"] / rows["final"]


def test_traffic_alone_nearly_replaces_a_survey(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    live, final = means_leaving_one_out(tmp_path, capsys)
    assert live <= 1.48
    assert final <= 1.12


def test_traffic_makes_an_old_survey_better(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    survey = recordings() / "tetam" / "survey_set_1.csv.gz"
    radio_map = str(tmp_path / "survey.npz")
    store = str(recordings() / "tetam" / "store.toml")
    assert 0 == main(["survey", "fit", str(survey), "--store", store, "--out", radio_map])
    live, final = means_leaving_one_out(tmp_path, capsys, "--radio-map", radio_map)
    assert live <= 1.13
    assert final <= 0.91
