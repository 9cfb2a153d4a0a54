import numpy as np

from simulators.routing import DEFAULT_AGENT, find_routes, sample_columns, steps_of


def test_every_row_goes_out_once_by_the_agent_of_its_receiver(store, chunks):
    routes = find_routes(store)
    assert routes.agents == ("pi-1", "pi-2", "pi-3", "pi-4")
    of = {r.id: r.agent for r in store.receivers}
    some = chunks[60:70]
    count = 0
    for step, chunk in zip(steps_of(iter(some), store, routes, str.upper), some, strict=True):
        assert step.end_ns == chunk.end_ns
        for rows in step.rows:
            assert len({len(values) for values in rows.columns.values()}) == 1
            if rows.kind == "ble":
                assert {rows.agent} == {of[name] for name in rows.columns["receiver"]}
                assert all(tag == tag.upper() for tag in rows.columns["tag"])
            count += len(rows.columns["t_ns"])
    parts = [n for c in some for n in (c.readings, c.taps, c.samples)]
    assert sum(len(part.t_ns) for part in parts) == count


def test_one_agent_may_send_everything(store):
    routes = find_routes(store, agent="only")
    assert routes.agents == ("only",)
    assert not routes.receiver.any()


def test_a_store_without_agents_has_one(store):
    import dataclasses

    bare = dataclasses.replace(
        store, receivers=tuple(dataclasses.replace(r, agent=None) for r in store.receivers)
    )
    assert find_routes(bare).agents == (DEFAULT_AGENT,)


def test_samples_of_two_kinds_keep_their_units_apart():
    columns = sample_columns(
        np.array([1, 2]), np.array(["a", "b"], dtype=object), np.array([5.0, 6.0]),
        np.array([True, False]),
    )  # fmt: skip
    assert columns["mass_g"][0] == 5.0
    assert np.isnan(columns["mass_g"][1])
    assert columns["range_mm"][1] == 6.0
