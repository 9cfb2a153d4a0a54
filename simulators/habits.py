"""Four kinds of shopper, and the plan each makes at the door.

Rules of the file: a plan is a list of acts decided before the first step; what the
store then does to it (an empty facing, a queue) is the crowd's business. The four
purposes are those of the contract's visits; shares and times are plausible choices,
not measured.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from analytics.store import Point
from simulators.places import Facing, Places

ActKind = Literal["walk", "stand", "tap", "touch", "pick", "return", "queue", "free_till", "leave"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One thing to do: where, for how long, with which product or tap point (`index`)."""

    kind: ActKind
    to_m: Point = (0.0, 0.0)
    seconds: float = 0.0
    index: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Habit:
    """How a kind of shopper behaves.

    Attributes
    ----------
    share : of all shoppers
    speed_mps : slowest and fastest [m/s]
    aims : least and most shelves aimed at
    look_s : median time before a facing [s]
    pick_p, return_p : chance to take what was looked at, and to put it back
    touch_p : chance to feel for it without lifting it
    pause_p : chance to stop and think on the way
    wander : least and most walks to nowhere in particular
    one_shelf : all aims stand on one shelf, and all but one go back
    party : people who come together with the same aims
    """

    share: float
    speed_mps: tuple[float, float]
    aims: tuple[int, int]
    look_s: float
    pick_p: float
    return_p: float
    touch_p: float
    pause_p: float
    wander: tuple[int, int]
    one_shelf: bool = False
    party: int = 1


HABITS: dict[str, Habit] = {
    "mission": Habit(
        share=0.35, speed_mps=(1.1, 1.4), aims=(1, 2), look_s=4.0, pick_p=0.95,
        return_p=0.05, touch_p=0.05, pause_p=0.05, wander=(0, 0),
    ),
    "browse": Habit(
        share=0.35, speed_mps=(0.6, 0.95), aims=(3, 6), look_s=12.0, pick_p=0.4,
        return_p=0.5, touch_p=0.25, pause_p=0.3, wander=(1, 3),
    ),
    "compare": Habit(
        share=0.2, speed_mps=(0.8, 1.1), aims=(2, 3), look_s=9.0, pick_p=0.95,
        return_p=0.2, touch_p=0.15, pause_p=0.2, wander=(0, 1), one_shelf=True,
    ),
    "social": Habit(
        share=0.1, speed_mps=(0.7, 1.0), aims=(1, 3), look_s=15.0, pick_p=0.3,
        return_p=0.4, touch_p=0.2, pause_p=0.4, wander=(1, 3), party=2,
    ),
}  # fmt: skip

SIDE_M = 0.15  # shoppers do not stand on the very same spot


def choose_habit(rng: np.random.Generator) -> str:
    """Return the name of a habit, drawn by its share.

    Parameters
    ----------
    rng : source of chance
    """
    names = list(HABITS)
    shares = np.array([HABITS[name].share for name in names])
    return names[int(rng.choice(len(names), p=shares / shares.sum()))]


def choose_aims(habit: Habit, places: Places, rng: np.random.Generator) -> list[int]:
    """Return the products a shopper is after, as indices into `Places.facings`.

    Parameters
    ----------
    habit : how many, and whether of one shelf
    places : what there is
    rng : source of chance
    """
    count = int(rng.integers(habit.aims[0], habit.aims[1], endpoint=True))
    pool = list(range(len(places.facings)))
    if habit.one_shelf and pool:
        shelf = places.facings[int(rng.integers(len(pool)))].shelf
        pool = [index for index in pool if places.facings[index].shelf == shelf]
    return [int(i) for i in rng.permutation(pool)[:count]] if pool else []


def make_plan(habit: Habit, aims: list[int], places: Places, rng: np.random.Generator) -> list[Act]:
    """Return everything a shopper means to do, from the door to the door.

    Parameters
    ----------
    habit : how the shopper behaves
    aims : indices into `Places.facings`, as `choose_aims` gives them
    places : where things are
    rng : source of chance
    """
    plan: list[Act] = []
    if places.entry >= 0:
        plan += [
            Act(kind="walk", to_m=places.tap_points[places.entry]),
            Act(kind="stand", seconds=float(rng.uniform(0.5, 2.0))),
            Act(kind="tap", index=places.entry),
            Act(kind="stand", seconds=float(rng.uniform(0.5, 2.0))),
        ]
    stops = [_at_shelf(habit, aims, order, places, rng) for order in range(len(aims))]
    for _ in range(int(rng.integers(habit.wander[0], habit.wander[1], endpoint=True))):
        stops.insert(int(rng.integers(len(stops) + 1)), _wander(habit, places, rng))
    if places.infos and rng.random() < 0.1:
        tap = int(rng.choice(places.infos))
        stops.insert(0, [
            Act(kind="walk", to_m=places.tap_points[tap]),
            Act(kind="tap", index=tap),
            _stand(8.0, rng),
        ])  # fmt: skip
    for stop in stops:
        if rng.random() < habit.pause_p:
            plan += [Act(kind="walk", to_m=_somewhere(places, rng)), _stand(3.0, rng)]
        plan += stop
    plan.append(Act(kind="queue"))
    if places.exit >= 0:
        plan += [
            Act(kind="walk", to_m=places.tap_points[places.exit]),
            Act(kind="stand", seconds=float(rng.uniform(0.5, 1.5))),
            Act(kind="tap", index=places.exit),
        ]
    return [*plan, Act(kind="walk", to_m=places.door_out_m), Act(kind="leave")]


def _at_shelf(
    habit: Habit, aims: list[int], order: int, places: Places, rng: np.random.Generator
) -> list[Act]:
    index = aims[order]
    acts = [Act(kind="walk", to_m=_beside(places.facings[index], rng)), _stand(habit.look_s, rng)]
    if rng.random() < habit.touch_p:
        acts += [Act(kind="touch", index=index), _stand(2.0, rng)]
    if rng.random() < habit.pick_p:
        acts += [Act(kind="pick", index=index), _stand(habit.look_s / 2 + 2.0, rng)]
        put_back = habit.one_shelf and order < len(aims) - 1
        if put_back or rng.random() < habit.return_p:
            acts += [Act(kind="return", index=index), _stand(2.0, rng)]
    return acts


def _wander(habit: Habit, places: Places, rng: np.random.Generator) -> list[Act]:
    return [Act(kind="walk", to_m=_somewhere(places, rng)), _stand(1.5 * habit.look_s, rng)]


def _somewhere(places: Places, rng: np.random.Generator) -> Point:
    return places.wander[int(rng.integers(len(places.wander)))]


def _beside(facing: Facing, rng: np.random.Generator) -> Point:
    """Return a point before a facing; the crowd takes the free point nearest to it."""
    dx, dy = rng.uniform(-SIDE_M, SIDE_M, 2)
    return facing.stand_m[0] + float(dx), facing.stand_m[1] + float(dy)


def _stand(median_s: float, rng: np.random.Generator) -> Act:
    """Return a stand whose time is lognormal, at least one second."""
    return Act(kind="stand", seconds=max(1.0, median_s * float(np.exp(rng.normal(0.0, 0.5)))))
