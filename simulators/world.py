"""The simulation: a generator of seconds of a virtual store, with the truth.

Rules of the file: everything follows from (scenario, store, seed, minutes, shoppers,
start); nothing is kept but who is inside, so it can run for ever. Shoppers, radio and
shelves draw from generators of their own, so one does not disturb the others.
"""

import math
from collections import deque
from collections.abc import Iterator

import numpy as np

from analytics.store import Store
from simulators.bands import Bands
from simulators.chunk import Chunk, Readings, Samples, ShelfTruth, Taps, Truth
from simulators.crowd import Crowd, Handled, Person
from simulators.floor import Floor
from simulators.habits import HABITS, Act, choose_aims, choose_habit, make_plan
from simulators.places import Places, find_places, floor_of, grid_points
from simulators.plates import Plates
from simulators.radio import RadioWorld
from simulators.scenario import Scenario

START_NS = 1_764_000_000_000_000_000  # 2025-11-24, 16:00 UTC
CHUNK_NS = 1_000_000_000
STEPS = 5  # of truth and movement in a chunk: 5 Hz
STEP_NS = CHUNK_NS // STEPS
HEAD_START_S = 30.0
WALK_GAP_M = 2.0
WALK_MPS = 0.7


def simulate(
    scenario: Scenario,
    store: Store,
    seed: int,
    minutes: float | None = None,
    shoppers: int | None = None,
    *,
    start_ns: int = START_NS,
) -> Iterator[Chunk]:
    """Play a store, second by second.

    Parameters
    ----------
    scenario : what kind of day
    store : the place
    seed : same seed, same rows
    minutes : [min]; None = without end
    shoppers : so many come during `minutes` (None: as the scenario says; without end: so
        many during the scenario's own minutes, again and again)
    start_ns : [ns since 1970, UTC], of the first second

    Yields
    ------
    chunk : one second each, without gaps

    Raises
    ------
    ConfigError
        The store has no floor to walk on.
    """
    world = _World(scenario, store, seed, minutes=minutes, shoppers=shoppers, start_ns=start_ns)
    count = None if minutes is None else math.ceil(minutes * 60 - 1e-9)
    done = 0
    while count is None or done < count:
        yield world.second()
        done += 1


class _World:
    def __init__(
        self,
        scenario: Scenario,
        store: Store,
        seed: int,
        *,
        minutes: float | None,
        shoppers: int | None,
        start_ns: int,
    ) -> None:
        people, radio, shelves = (
            np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(3)
        )
        floor_name = floor_of(store)
        self._store, self._scenario, self._rng = store, scenario, people
        self._floor = Floor(store, floor=floor_name)
        self._places: Places = find_places(store, self._floor)
        self._plates = Plates(
            store, noise=scenario.noise, rng=shelves, sample_hz=scenario.sample_hz
        )
        slots = scenario.people_max
        self._crowd = Crowd(self._floor, self._places, self._plates, people, slots=slots)
        self._bands = Bands(RadioWorld(store, floor=floor_name), scenario.air, radio, slots=slots)
        self._origin_ns = self._now_ns = start_ns
        self._x, self._y, self._heading = (np.zeros((STEPS + 1, slots)) for _ in range(3))
        self._inside = np.zeros((STEPS + 1, slots), dtype=np.bool_)
        self._number = 0
        self._arrivals = self._planned_arrivals(minutes, shoppers)
        self._next_arrival_s = next(self._arrivals, math.inf)

    def second(self) -> Chunk:
        """Advance by one second."""
        start_ns, end_ns = self._now_ns, self._now_ns + CHUNK_NS
        new = []
        self._record(0)
        for step in range(STEPS):
            t_ns = start_ns + step * STEP_NS
            self._crowd.step(t_ns, STEP_NS / 1e9)
            new += self._arrive(t_ns + STEP_NS)
            self._record(step + 1)
        restocks = self._plates.restock(start_ns, end_ns)
        readings = self._bands.listen(
            start_ns=start_ns,
            origin_ns=self._origin_ns,
            step_s=STEP_NS / 1e9,
            x_m=self._x,
            y_m=self._y,
            heading=self._heading,
            present=self._inside,
        )
        samples = self._plates.sample(start_ns, end_ns, nearest_mm=self._nearest_mm())
        chunk = self._chunk(start_ns, new, restocks, readings, samples)
        for person in self._crowd.clear_gone():
            self._bands.stop(person.slot)
        self._now_ns = end_ns
        return chunk

    def _planned_arrivals(self, minutes: float | None, shoppers: int | None) -> Iterator[float]:
        """Yield the seconds of all arrivals: a Poisson process, or so many at random times."""
        scenario, rng = self._scenario, self._rng
        if scenario.survey_walk:
            yield 0.0
            return
        first = scenario.head_start if shoppers is None else min(shoppers, scenario.head_start)
        yield from sorted(rng.uniform(0.0, HEAD_START_S, first).tolist())
        if minutes is not None:
            mean = scenario.shoppers_per_min * minutes
            count = int(rng.poisson(mean)) if shoppers is None else shoppers - first
            yield from sorted(rng.uniform(0.0, minutes * 60, count).tolist())
            return
        rate = scenario.shoppers_per_min
        rate = rate if shoppers is None else shoppers / scenario.minutes
        at_s = HEAD_START_S
        while rate > 0:
            at_s += float(rng.exponential(60.0 / rate))
            yield at_s

    def _arrive(self, before_ns: int) -> list[Person]:
        before_s = (before_ns - self._origin_ns) / 1e9
        new: list[Person] = []
        while self._next_arrival_s < before_s:
            if self._scenario.survey_walk:
                new += self._enter(WALK_MPS, self._walk_plan())
            else:
                habit = HABITS[choose_habit(self._rng)]
                aims = choose_aims(habit, self._places, self._rng)
                for member in range(habit.party):
                    if member and next(self._arrivals, None) is None:
                        break  # a companion counts as the next arrival
                    speed = float(self._rng.uniform(*habit.speed_mps))
                    new += self._enter(speed, make_plan(habit, aims, self._places, self._rng))
            self._next_arrival_s = next(self._arrivals, math.inf)
        for person in new:
            self._bands.start(person.slot, before_s)
        return new

    def _enter(self, speed_mps: float, plan: list[Act]) -> list[Person]:
        person = self._crowd.enter(self._number + 1, speed_mps, plan)
        if person is None:
            return []
        self._number += 1
        return [person]

    def _walk_plan(self) -> list[Act]:
        points = deque(grid_points(self._floor, WALK_GAP_M))
        acts: list[Act] = []
        for point in points:
            acts += [Act(kind="walk", to_m=point), Act(kind="stand", seconds=1.0)]
        return [*acts, Act(kind="walk", to_m=self._places.door_out_m), Act(kind="leave")]

    def _record(self, step: int) -> None:
        self._inside[step] = False
        for person in self._crowd.people:
            self._x[step, person.slot] = person.x_m
            self._y[step, person.slot] = person.y_m
            self._heading[step, person.slot] = person.heading
            self._inside[step, person.slot] = not person.gone

    def _nearest_mm(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Return how near somebody stands to each shelf, NaN beyond a metre."""
        sensors = self._store.sensors
        found = np.full(len(sensors), np.nan)
        if all(sensor.kind == "mass" for _, sensor in sensors):
            return found
        for at, (shelf, _) in enumerate(sensors):
            if shelf.rect_m is None:
                continue
            x0, y0, x1, y1 = shelf.rect_m
            for person in self._crowd.people:
                dx = max(x0 - person.x_m, 0.0, person.x_m - x1)
                dy = max(y0 - person.y_m, 0.0, person.y_m - y1)
                away_mm = 1000.0 * math.hypot(dx, dy)
                if away_mm <= 1000.0 and not found[at] < away_mm:
                    found[at] = away_mm
        return found

    def _chunk(
        self,
        start_ns: int,
        new: list[Person],
        restocks: list[tuple[int, int, int]],
        readings: Readings,
        samples: Samples,
    ) -> Chunk:
        people = self._crowd.people
        tag_of = np.full(self._scenario.people_max + 1, -1, dtype=np.int32)
        tag_of[[person.slot for person in people]] = np.arange(len(people))
        step, slot = np.nonzero(self._inside[:STEPS])
        x, y = np.round(self._x[step, slot], 3), np.round(self._y[step, slot], 3)
        taps, self._crowd.taps = self._crowd.taps, []
        end_ns = start_ns + CHUNK_NS
        handled = [row for row in self._crowd.handled if row.t_ns < end_ns]
        # A hand that presses now lifts the item a moment later, perhaps in the next second.
        self._crowd.handled = [row for row in self._crowd.handled if row.t_ns >= end_ns]
        handled += [
            Handled(t_ns=t, product=product, kind="restock", quantity=count, slot=-1)
            for t, product, count in restocks
        ]
        taps.sort(key=lambda tap: tap.t_ns)
        handled.sort(key=lambda row: (row.t_ns, row.product))
        return Chunk(
            start_ns=start_ns,
            end_ns=end_ns,
            tags=tuple(_band(person) for person in people),
            new_tags=tuple(_band(person) for person in new),
            readings=Readings(
                t_ns=readings.t_ns,
                receiver=readings.receiver,
                tag=tag_of[readings.tag],
                rssi_dbm=readings.rssi_dbm,
            ),
            taps=Taps(
                t_ns=np.array([tap.t_ns for tap in taps], dtype=np.int64),
                tap_point=np.array([tap.tap_point for tap in taps], dtype=np.int16),
                tag=tag_of[np.array([tap.slot for tap in taps], dtype=np.int64)],
            ),
            samples=samples,
            truth=Truth(
                t_ns=start_ns + step.astype(np.int64) * STEP_NS,
                tag=tag_of[slot],
                x_m=x,
                y_m=y,
                zone=self._floor.zone_of(x, y),
            ),
            shelf_truth=ShelfTruth(
                t_ns=np.array([row.t_ns for row in handled], dtype=np.int64),
                product=np.array([row.product for row in handled], dtype=np.int32),
                kind=tuple(row.kind for row in handled),
                quantity=np.array([row.quantity for row in handled], dtype=np.int32),
                tag=tag_of[np.array([row.slot for row in handled], dtype=np.int64)],
            ),
        )


def _band(person: Person) -> str:
    return f"name:band-{person.number:04d}"
