"""The reference vectors, where the reference folder is there."""

import json
import os
from pathlib import Path

import pytest

DEFAULT = Path(__file__).resolve().parents[2] / ".." / "shared" / "reference" / "vectors.json"


def read_vectors():
    """Return the vectors, or skip the test with a sentence."""
    path = Path(os.environ.get("FANOUS_VECTORS", DEFAULT))
    if not path.is_file():
        pytest.skip("the reference vectors are not here; FANOUS_VECTORS may name their file")
    return json.loads(path.read_text(encoding="utf-8"))
