import itertools
import math

import numpy as np
import pytest

from analytics.geometry import distance_to_border, points_in_polygon
from analytics.store import Obstacle, Receiver, Store
from ingest.config import ConfigError
from simulators.floor import BODY_M, Floor
from simulators.places import find_places

ROOM = ((0.0, 0.0), (10.0, 0.0), (10.0, 6.0), (0.0, 6.0))
WALL = Obstacle(polygon_m=((4.0, 0.0), (5.0, 0.0), (5.0, 5.0), (4.0, 5.0)))


def room(*obstacles):
    receiver = Receiver(id="rx", position_m=(1.0, 1.0, 2.0))
    return Store(
        id="room",
        name="room",
        timezone="UTC",
        outline_m=ROOM,
        receivers=(receiver,),
        obstacles=obstacles,
    )


def along(points, step_m=0.02):
    for a, b in itertools.pairwise(points):
        count = int(math.dist(a, b) / step_m) + 2
        yield from np.linspace(a, b, count)


def test_a_path_goes_round_a_wall_and_is_not_much_longer_than_the_shortest():
    floor = Floor(room(WALL))
    start, goal = (2.0, 1.0), (8.0, 1.0)
    path = [start, *floor.path(start, goal)]
    assert path[-1] == goal
    points = np.array(list(along(path)))
    assert not points_in_polygon(points[:, 0], points[:, 1], WALL.polygon_m).any()
    length = sum(itertools.starmap(math.dist, itertools.pairwise(path)))
    # Round both corners of the wall, with half a body between.
    corners = [start, (4 - BODY_M, 5 + BODY_M), (5 + BODY_M, 5 + BODY_M), goal]
    shortest = sum(itertools.starmap(math.dist, itertools.pairwise(corners)))
    assert length < shortest + 0.5


def test_a_free_line_is_walked_straight():
    assert Floor(room()).path((1.0, 1.0), (9.0, 5.0)) == [(9.0, 5.0)]


def test_paths_between_all_places_of_the_demo_store_touch_nothing(store):
    floor = Floor(store)
    places = find_places(store, floor)
    stops = [places.door_in_m, *(f.stand_m for f in places.facings), *places.queue[:3]]
    stops += [places.door_out_m, *places.wander[::5]]
    points = np.array(
        [p for a, b in itertools.pairwise(stops) for p in along([a, *floor.path(a, b)], 0.05)]
    )
    for obstacle in store.obstacles:
        assert not points_in_polygon(points[:, 0], points[:, 1], obstacle.polygon_m).any()
        border = np.asarray(obstacle.polygon_m, dtype=np.float64)
        assert distance_to_border(points, border).min() > 0.05


def test_only_the_largest_part_of_the_floor_is_used():
    closed = Obstacle(polygon_m=((7.0, 0.0), (8.0, 0.0), (8.0, 6.0), (7.0, 6.0)))
    floor = Floor(room(closed))
    assert floor.free_points[:, 0].max() < 7
    assert floor.nearest_free((9.0, 3.0))[0] < 7


def test_a_store_without_room_is_refused():
    full = Obstacle(polygon_m=ROOM)
    with pytest.raises(ConfigError, match=r"store 'room'.*check outline_m"):
        Floor(room(full))


def test_a_very_large_store_takes_a_coarser_grid():
    big = ((0.0, 0.0), (300.0, 0.0), (300.0, 200.0), (0.0, 200.0))
    floor = Floor(
        Store(id="big", name="big", timezone="UTC", outline_m=big, receivers=room().receivers)
    )
    assert floor.grid_m == pytest.approx(1.0)
