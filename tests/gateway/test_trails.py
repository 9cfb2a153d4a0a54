import numpy as np

from analytics.rows import Output, Positions
from gateway.trails import PER_TICK_MAX, trail_of

SECOND = 1_000_000_000


def _block(people, seconds, *, stage=0, first_s=0):
    t_ns = np.repeat((first_s + np.arange(seconds)) * SECOND, people)
    n = len(t_ns)
    return Positions(
        t_ns=t_ns,
        tag=np.tile(np.arange(people, dtype=np.int32), seconds),
        stage=np.full(n, stage, np.uint8),
        layer=np.zeros(n, np.uint16),
        zone=np.zeros(n, np.int16),
        zone_state=np.zeros(n, np.uint8),
        zone_p=np.ones(n, np.float32),
        x_m=np.full(n, 1.234, np.float32),
        y_m=np.full(n, 2.0, np.float32),
        sigma_m=np.ones(n, np.float32),
        floor=np.zeros(n, np.uint8),
    )


def _trail(*blocks):
    return trail_of(
        Output(positions=list(blocks)),
        layer_main=0,
        floors=["ground"],
        names=lambda ids: [f"tag-{i}" for i in ids.tolist()],
    )


def test_of_few_people_every_position_is_kept():
    trail = _trail(_block(PER_TICK_MAX, 3))
    assert 3 * PER_TICK_MAX == len(trail.t_ns)
    assert ("tag-7", "ground", 1.23) == (trail.tag[7], trail.floor[7], trail.x_m[7])


def test_of_many_each_is_kept_as_often_as_the_others():
    people, seconds = 10 * PER_TICK_MAX, 30
    trail = _trail(_block(people, seconds))
    times = np.unique(trail.tag, return_counts=True)[1]
    assert (people, {seconds // 10}) == (len(times), {*times.tolist()})
    each_second = np.unique(trail.t_ns, return_counts=True)[1]
    assert {PER_TICK_MAX} == {*each_second.tolist()}


def test_what_is_kept_does_not_depend_on_the_portions():
    people = 3 * PER_TICK_MAX
    together = _trail(_block(people, 4))
    parts = [_trail(_block(people, 1, first_s=second)) for second in range(4)]
    assert [*together.tag] == [tag for part in parts for tag in part.tag]


def test_final_positions_are_not_the_trails():
    assert _trail(_block(5, 1, stage=1)) is None
    assert _trail() is None
