"""The pictures of `docs/positions.md` come from code: the same seed, the same bytes."""

import os
import subprocess
import sys
from xml.etree import ElementTree as ET

import pytest

from tests.recordings import ROOT

pytestmark = pytest.mark.system
SVG = "{http://www.w3.org/2000/svg}"
COMMITTED = sorted((ROOT / "docs" / "images" / "positions").glob("*.svg"))


def pictures(*words):
    return subprocess.run(
        [sys.executable, "benchmarks/pictures.py", *words],
        cwd=ROOT,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def test_a_picture_is_the_same_each_time(tmp_path):
    made = []
    for name in ("first", "second"):
        out = tmp_path / name
        ended = pictures("--out", str(out), "--minutes", "3", "--seed", "5", "posterior")
        assert ended.returncode == 0, ended.stderr
        # The belief that is drawn must be the product's: rows are rounded to centimetres.
        difference_m = float(ended.stdout.split("differ by at most ")[1].split()[0])
        assert difference_m <= 0.006
        made.append((out / "posterior.svg").read_bytes())
    assert made[0] == made[1]
    root = ET.fromstring(made[0])
    assert root.tag == f"{SVG}svg"
    assert len([e for e in root.iter(f"{SVG}circle") if e.get("fill") == "none"]) == 5


def test_an_unknown_picture_is_refused_before_any_work(tmp_path):
    ended = pictures("--out", str(tmp_path / "out"), "postirior")
    assert ended.returncode == 2
    assert "got 'postirior'" in ended.stderr
    assert not (tmp_path / "out").exists()


def test_the_page_shows_every_picture_and_its_command():
    page = (ROOT / "docs" / "positions.md").read_text("utf-8")
    assert COMMITTED
    for path in COMMITTED:
        assert f"(images/positions/{path.name})" in page
        assert f"pictures.py --out docs/images/positions {path.stem}\n" in page


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_a_picture_is_small_and_loads_nothing(path):
    text = path.read_text("utf-8")
    ET.fromstring(text)
    assert len(text.encode()) < 150_000
    for word in ("<script", "href", "url(", "@import", "<image"):
        assert word not in text
