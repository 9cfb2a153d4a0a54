import numpy as np

from simulators.crowd import Crowd
from simulators.floor import Floor
from simulators.habits import HABITS, Act, choose_aims, make_plan
from simulators.places import find_places
from simulators.plates import PlateNoise, Plates

NS = 1_000_000_000
QUIET = PlateNoise(press_p=0.0)


def crowd_of(store, slots=20):
    rng = np.random.default_rng(1)
    floor = Floor(store)
    places = find_places(store, floor)
    plates = Plates(store, noise=QUIET, rng=rng, sample_hz=5.0)
    return Crowd(floor, places, plates, rng, slots=slots), places, plates


def buyer(product=0):
    return [Act(kind="pick", index=product), Act(kind="queue"), Act(kind="leave")]


def run(crowd, seconds, start_s=0):
    gone = []
    for step in range(int(seconds * 5)):
        crowd.step(start_s * NS + step * NS // 5, 0.2)
        gone += [person.number for person in crowd.clear_gone()]
    return gone


def test_the_line_is_served_in_the_order_people_joined(store):
    crowd, _, _ = crowd_of(store)
    joined = []
    for number in range(1, 7):
        crowd.enter(number, 1.0, buyer())
        run(crowd, 4)
    order = []
    for _ in range(5 * 300):
        before = [person.number for person in crowd.line]
        crowd.step(0, 0.2)
        joined += [p.number for p in crowd.line if p.number not in joined]
        order += [n for n in before if n not in [p.number for p in crowd.line]]
        crowd.clear_gone()
    assert joined[: len(order)] == order
    assert len(order) >= 4
    assert crowd.people == []
    assert all(-1 < tap.tap_point < len(store.tap_points) for tap in crowd.taps)


def test_people_in_line_stand_on_their_own_places(store):
    crowd, _, _ = crowd_of(store)
    for number in range(1, 9):
        crowd.enter(number, 1.2, buyer(number % 3))
        run(crowd, 2)
    longest = []
    for _ in range(5 * 60):
        crowd.step(0, 0.2)
        standing = [(p.x_m, p.y_m) for p in crowd.line]
        if len(standing) >= len(longest):
            longest = standing
    assert len(longest) >= 3
    assert len(set(longest)) == len(longest)


def test_who_has_nothing_does_not_queue(store):
    crowd, _, _ = crowd_of(store)
    crowd.enter(1, 1.0, [Act(kind="queue"), Act(kind="leave")])
    assert run(crowd, 1) == [1]
    assert crowd.taps == []


def test_who_finds_nothing_takes_and_returns_nothing(store):
    crowd, _, plates = crowd_of(store)
    while plates.pick(0, 0):
        pass
    plan = [Act(kind="pick", index=0), Act(kind="return", index=0), Act(kind="leave")]
    crowd.enter(1, 1.0, plan)
    assert run(crowd, 1) == [1]
    assert crowd.handled == []


def test_a_full_store_turns_people_away_until_somebody_leaves(store):
    crowd, _, _ = crowd_of(store, slots=1)
    stay = [Act(kind="stand", seconds=1.0), Act(kind="leave")]
    assert crowd.enter(1, 1.0, stay) is not None
    assert crowd.enter(2, 1.0, stay) is None
    run(crowd, 2)
    assert crowd.enter(3, 1.0, stay) is not None


def test_a_plan_begins_at_the_gate_and_ends_with_leaving(store):
    _, places, _ = crowd_of(store)
    for name, habit in HABITS.items():
        rng = np.random.default_rng(len(name))
        aims = choose_aims(habit, places, rng)
        plan = make_plan(habit, aims, places, rng)
        assert habit.aims[0] <= len(aims) <= habit.aims[1]
        assert plan[2] == Act(kind="tap", index=places.entry)
        assert [a.kind for a in plan[-6:]] == ["queue", "walk", "stand", "tap", "walk", "leave"]
        picks = [act.index for act in plan if act.kind == "pick"]
        returns = [act.index for act in plan if act.kind == "return"]
        assert set(returns) <= set(picks) <= set(aims)


def test_who_compares_stays_at_one_shelf(store):
    _, places, _ = crowd_of(store)
    for seed in range(10):
        aims = choose_aims(HABITS["compare"], places, np.random.default_rng(seed))
        assert len({places.facings[index].shelf for index in aims}) == 1
