"""The shoppers in the store: they carry out their plans step by step.

Rules of the file: a person never moves faster than the speed drawn at the door and
never leaves the free floor; the queue is first come, first served; who takes an item
carries that very item. At most `slots` people are inside, further ones turn away.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from analytics.store import Point
from simulators.floor import Floor
from simulators.habits import Act
from simulators.places import Places
from simulators.plates import Item, Plates

SERVICE_S = (8.0, 90.0)  # least and most at a till; lognormal about 20 s


@dataclass(slots=True)
class Person:
    """Somebody in the store."""

    number: int
    slot: int
    speed_mps: float
    x_m: float
    y_m: float
    heading: float
    acts: deque[Act]
    path: deque[Point] | None = None
    wait_s: float | None = None
    basket: list[tuple[int, Item]] = field(default_factory=list)
    in_line: bool = False
    goal: Point | None = None
    gone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tapped:
    """A tap: when, where, whose."""

    t_ns: int
    tap_point: int
    slot: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Handled:
    """Something that happened to a product: pick, return or restock."""

    t_ns: int
    product: int
    kind: str
    quantity: int
    slot: int


class Crowd:
    """Everybody in the store, the line at the tills, and what they did since last asked.

    Parameters
    ----------
    floor, places, plates : the store
    rng : source of chance
    slots : people that fit in
    """

    def __init__(
        self, floor: Floor, places: Places, plates: Plates, rng: np.random.Generator, *, slots: int
    ) -> None:
        self._floor, self._places, self._plates, self._rng = floor, places, plates, rng
        self._free_slots = list(range(slots - 1, -1, -1))
        self._line: list[Person] = []
        self._at_till: list[Person | None] = [None] * len(places.tills)
        self.people: list[Person] = []
        self.taps: list[Tapped] = []
        self.handled: list[Handled] = []

    @property
    def line(self) -> tuple[Person, ...]:
        """Who waits, in order."""
        return tuple(self._line)

    def enter(self, number: int, speed_mps: float, plan: Sequence[Act]) -> Person | None:
        """Let somebody in at the door; None when the store is full.

        Parameters
        ----------
        number : which shopper this is, from 1
        speed_mps : float [m/s], never exceeded
        plan : what they mean to do
        """
        if not self._free_slots:
            return None
        x, y = self._places.door_in_m
        person = Person(
            number=number,
            slot=self._free_slots.pop(),
            speed_mps=speed_mps,
            x_m=x,
            y_m=y,
            heading=float(self._rng.uniform(-math.pi, math.pi)),
            acts=deque(plan),
        )
        self.people.append(person)
        return person

    def step(self, t_ns: int, seconds: float) -> None:
        """Let everybody act for a moment.

        Parameters
        ----------
        t_ns : when the moment begins
        seconds : float [s], how long it is
        """
        for person in self.people:
            left = seconds
            while left > 0 and person.acts and not person.gone:
                left = self._act(person, t_ns + round((seconds - left) * 1e9), left)

    def clear_gone(self) -> list[Person]:
        """Forget who has left, and return them; their slots become free."""
        gone = [person for person in self.people if person.gone]
        self.people = [person for person in self.people if not person.gone]
        self._free_slots += [person.slot for person in gone]
        return gone

    def _act(self, person: Person, t_ns: int, left: float) -> float:
        """Do the current act; return the time that is left, in seconds."""
        act = person.acts[0]
        match act.kind:
            case "walk":
                return self._walk(person, act.to_m, left, last=True)
            case "stand":
                if person.wait_s is None:
                    person.wait_s = act.seconds
                used = min(left, person.wait_s)
                person.wait_s -= used
                if person.wait_s <= 1e-9:
                    person.wait_s = None
                    person.acts.popleft()
                return left - used
            case "queue":
                return self._queue(person, left)
        person.acts.popleft()
        match act.kind:
            case "tap":
                self.taps.append(Tapped(t_ns=t_ns, tap_point=act.index, slot=person.slot))
            case "touch":
                self._look(person, act.index)
                self._plates.touch(act.index, t_ns)
            case "pick":
                self._pick(person, act.index, t_ns)
            case "return":
                self._return(person, act.index, t_ns)
            case "free_till":
                self._at_till[act.index] = None
                person.basket.clear()
            case "leave":
                person.gone = True
        return left

    def _walk(self, person: Person, to_m: Point, left: float, *, last: bool) -> float:
        """Walk along the path; ends the act on arrival where it is the `last` of it."""
        if person.path is None or person.goal != to_m:
            start = (person.x_m, person.y_m)
            person.path = deque(self._floor.path(start, to_m))
            person.goal = to_m
        while person.path and left > 0:
            x, y = person.path[0]
            dx, dy = x - person.x_m, y - person.y_m
            away = math.hypot(dx, dy)
            reach = person.speed_mps * left
            if away > 1e-9:
                person.heading = math.atan2(dy, dx)
            if away > reach:
                person.x_m += dx * reach / away
                person.y_m += dy * reach / away
                return 0.0
            person.x_m, person.y_m = x, y
            person.path.popleft()
            left -= away / person.speed_mps
        if not person.path and last:
            person.path = person.goal = None
            person.acts.popleft()
        return max(left, 0.0)

    def _queue(self, person: Person, left: float) -> float:
        """Join the line's end, move up, and go to a till that is free."""
        if not person.basket or not self._places.tills:
            person.acts.popleft()
            return left
        slots = self._places.queue
        place = self._line.index(person) if person.in_line else len(self._line)
        target = slots[min(place, len(slots) - 1)]
        left = self._walk(person, target, left, last=False)
        if person.path:
            return 0.0
        if not person.in_line:
            self._line.append(person)
            person.in_line = True
        if self._line[0] is not person or None not in self._at_till:
            return 0.0
        till = self._at_till.index(None)
        self._line.pop(0)
        self._at_till[till] = person
        person.in_line = False
        person.path = person.goal = None
        person.acts.popleft()
        self._pay(person, till)
        return left

    def _pay(self, person: Person, till: int) -> None:
        place = self._places.tills[till]
        service_s = float(np.clip(20.0 * np.exp(self._rng.normal(0.0, 0.5)), *SERVICE_S))
        acts = [
            Act(kind="walk", to_m=place.stand_m),
            Act(kind="stand", seconds=service_s),
            Act(kind="free_till", index=till),
        ]
        if place.tap_point >= 0:
            acts.insert(2, Act(kind="tap", index=place.tap_point))
        person.acts.extendleft(reversed(acts))

    def _pick(self, person: Person, product: int, t_ns: int) -> None:
        self._look(person, product)
        taken = self._plates.pick(product, t_ns)
        if taken is None:
            return
        item, lift_ns = taken
        person.basket.append((product, item))
        self._handle(lift_ns, product, "pick", person)

    def _return(self, person: Person, product: int, t_ns: int) -> None:
        held = [at for at, (which, _) in enumerate(person.basket) if which == product]
        if not held:
            return
        self._look(person, product)
        _, item = person.basket.pop(held[-1])
        self._plates.put_back(product, item, t_ns)
        self._handle(t_ns, product, "return", person)

    def _handle(self, t_ns: int, product: int, kind: str, person: Person) -> None:
        self.handled.append(
            Handled(t_ns=t_ns, product=product, kind=kind, quantity=1, slot=person.slot)
        )

    def _look(self, person: Person, product: int) -> None:
        x, y = self._places.facings[product].look_m
        person.heading = math.atan2(y - person.y_m, x - person.x_m)
