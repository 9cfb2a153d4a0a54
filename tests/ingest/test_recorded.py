"""Recordings and archives are found by the names in them."""

import pytest

from ingest.config import ConfigError
from ingest.recorded import Recorded, find_recorded, together


def touch(directory, *names):
    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        (directory / name).touch()
    return directory


def test_a_recording_is_found_by_its_stems(tmp_path):
    names = ["readings.csv.gz", "taps.csv", "samples.jsonl", "truth.csv", "store.toml", "taps.txt"]
    (found,) = find_recorded(touch(tmp_path, *names, "shelf_truth.csv", "readings-old.csv.part"))
    expected = Recorded(
        readings=(tmp_path / "readings.csv.gz",),
        taps=(tmp_path / "taps.csv",),
        samples=(tmp_path / "samples.jsonl",),
    )
    assert expected == found


def test_days_come_in_order_and_parts_by_their_numbers(tmp_path):
    touch(tmp_path / "2026-02-01", "readings-100-199.parquet", "readings-9-99.parquet")
    touch(tmp_path / "2026-01-31", "taps-1-8.parquet", "taps-1-8.parquet.new", "progress.json")
    touch(tmp_path / "2026-01-30")
    touch(tmp_path / "other", "readings-1-2.parquet")
    first, second = find_recorded(tmp_path)
    assert Recorded(day="2026-01-31", taps=(tmp_path / "2026-01-31/taps-1-8.parquet",)) == first
    assert ("2026-02-01", ["readings-9-99.parquet", "readings-100-199.parquet"]) == (
        second.day,
        [path.name for path in second.readings],
    )
    assert [second] == find_recorded(tmp_path / "2026-02-01")
    assert (first.taps, second.readings) == (
        together([first, second]).taps,
        together([first, second]).readings,
    )


def test_a_directory_without_any_is_refused_with_a_hint(tmp_path):
    with pytest.raises(ConfigError, match="expected files named readings, taps or samples"):
        find_recorded(tmp_path)
    touch(tmp_path / "demo" / "2026-01-31", "taps-1-8.parquet")
    with pytest.raises(ConfigError, match=r"name one store's directory, .*/demo$"):
        find_recorded(tmp_path)
    with pytest.raises(ConfigError, match="cannot be read"):
        find_recorded(tmp_path / "nothing")
