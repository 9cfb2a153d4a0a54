import numpy as np

from analytics.geometry import points_in_polygon
from simulators.floor import Floor


def check_digit(gtin):
    body = [int(digit) for digit in gtin[:-1]]
    weights = [3 if at % 2 == 0 else 1 for at in range(len(body))][::-1]
    if len(body) % 2 == 1:
        weights = [3 if at % 2 == 0 else 1 for at in range(len(body))]
    return (10 - sum(d * w for d, w in zip(body, weights, strict=True)) % 10) % 10


def test_gtins_are_distinct_and_have_the_right_check_digit(store):
    gtins = [product.gtin for shelf in store.shelves for product in shelf.products]
    assert len(gtins) == len(set(gtins))
    assert [int(gtin[-1]) for gtin in gtins] == [check_digit(gtin) for gtin in gtins]
    assert check_digit("4006381333931") == 1  # a published example


def test_zones_cover_every_place_a_body_can_be(store):
    free = Floor(store).free_points
    inside = [points_in_polygon(free[:, 0], free[:, 1], zone.polygon_m) for zone in store.zones]
    assert np.sum(inside, axis=0).tolist() == [1] * len(free)


def test_it_has_what_the_issue_asks_for(store):
    assert len(store.receivers) == 12
    assert {r.agent for r in store.receivers} == {"pi-1", "pi-2", "pi-3", "pi-4"}
    assert 4 <= len(store.shelves) <= 6
    assert all(3 <= len(s.sensors) <= 6 and 3 <= len(s.products) <= 5 for s in store.shelves)
    assert {"entrance", "promo", "aisle", "queue", "checkout", "exit"} == {
        zone.kind for zone in store.zones
    }
    assert {"entry", "exit", "checkout", "info"} == {point.role for point in store.tap_points}
