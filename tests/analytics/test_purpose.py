"""What a visit was for: the shape decides, little to judge stays unknown."""

import pytest

from analytics.purpose import PURPOSES, purpose_of

PLAIN = {
    "visit_s": 300.0, "dwells": 4, "zones": 4, "directness": 0.5, "hesitations": 0,
    "picks": 0, "returns": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ({"directness": 0.95, "visit_s": 120.0, "zones": 2, "picks": 1}, "mission"),
        ({"directness": 0.2, "visit_s": 1800.0, "zones": 8}, "browse"),
        ({"directness": 0.4, "hesitations": 5, "returns": 2, "zones": 2}, "compare"),
        ({"dwells": 1}, "unknown"),
        ({"directness": None}, "unknown"),
    ],
)
def test_shapes(shape: dict[str, object], expected: str) -> None:
    found, p = purpose_of(**(PLAIN | shape))
    assert expected == found
    assert found in PURPOSES
    assert (p is None) == (found == "unknown")
    assert p is None or 1 / 3 <= p <= 1


def test_very_long_visits_do_not_overflow() -> None:
    assert purpose_of(**(PLAIN | {"visit_s": 1e7, "hesitations": 10_000}))[1] == 1.0
