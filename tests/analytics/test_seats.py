"""Who is known: lowest free seat, growth, a limit, and release."""

import numpy as np
import pytest

import analytics.seats
from analytics.seats import FREE, Seats


def test_seats_are_taken_from_below_and_given_back() -> None:
    some = Seats(layers=2)
    assert [0, 1, 2] == [some.take(tag, f"t{tag}", 7) for tag in (40, 9, 5000)]
    assert [1, 0, FREE, 2] == some.of(np.array([9, 40, 7, 5000], np.int32)).tolist()
    assert [7, 7, 7] == some.last[:3].tolist()
    assert [6, 6, 6] == some.settled[:3].tolist()
    assert [FREE] * 3 == some.lane[:3].tolist()
    some.release(1)
    assert some.of(np.array([9], np.int32)).tolist() == [FREE]
    assert some.names[1] == ""
    assert some.taken == 2
    assert some.take(77, "t77", 8) == 1


def test_seats_grow_up_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analytics.seats, "SEATS_MOST", 700)
    some = Seats(layers=1)
    taken = [some.take(tag, str(tag), 0) for tag in range(750)]
    assert [*range(700), *[None] * 50] == taken
    assert len(some) == len(some.names) == some.decided.shape[2] == 700
    some.release(70)
    assert some.take(900, "900", 1) == 70
