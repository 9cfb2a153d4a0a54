"""Checkpoints: an engine that was saved and restored says what it would have said."""

import dataclasses
import functools
import hashlib
import itertools
import json
import os
import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import analytics.engine
from analytics import checkpoint
from analytics.checkpoint import CheckpointError, restore, save
from analytics.checkpoint_arrays import ArrayReader, ArrayWriter
from analytics.engine import Engine
from analytics.radio_map import radio_map_from_geometry
from analytics.rows import Output
from tests.analytics.stores import (
    SECOND,
    START_NS,
    Bench,
    Rows,
    shop,
    stay,
    tap,
    tour,
    whole,
)


def scene():
    """Return a store with a shelf, and two minutes of three visitors."""
    store = shop(shelves=True)
    rows = tour(store, "p_a", ("entrance", 20), ("promo", 40), ("silence", 25), ("queue", 30))
    rows += tour(store, "p_b", ("aisle", 30), ("silence", 45), ("checkout", 20), from_s=9.7)
    rows += stay(store, "p_c", "promo", 30, 33) + tap(store, "p_b", "info", 25)
    rows += tap(store, "p_a", "exit", 114)
    mass = [5000.0 - 250.0 * (i // 160) for i in range(600)]
    samples = [(START_NS + i * SECOND // 5, 0, value) for i, value in enumerate(mass)]
    return store, Rows(readings=rows.readings, taps=rows.taps, samples=samples)


def names_of(bench):
    """Return what an engine asks for the names of its tags."""
    return lambda ids: [bench.names[i] for i in ids.tolist()]


def again(bench, **more):
    """Return the restored engine of a bench, and its bytes."""
    data = save(bench.engine, **more)
    store = bench.store
    engine = restore(
        data,
        store,
        radio_map_from_geometry(store, analytics.engine.build_cells(store)),
        name_of=names_of(bench),
        **more,
    )
    return engine, data


@pytest.fixture(scope="module")
def busy():
    """Return an engine in the middle of its work, and its bytes."""
    store, rows = scene()
    bench = Bench(store, rows.tags())
    bench.add(rows.arrivals())  # at once, so that the ticks' rows are slices of one portion
    bench.advance(START_NS + 50 * SECOND)
    return bench, save(bench.engine)


def read(bench, data):
    store = bench.store
    grid = analytics.engine.build_cells(store)
    return restore(
        data, store, radio_map_from_geometry(store, grid), name_of=names_of(bench), grid=grid
    )


def state(engine):
    """Return a digest of a checkpoint: long bytes make unreadable failures."""
    return hashlib.blake2b(save(engine)).hexdigest()


@pytest.mark.parametrize("step_s", [1, 7])
def test_an_engine_restored_at_every_step_gives_the_same_tables(step_s):
    store, rows = scene()
    expected = whole(store, rows)
    bench = Bench(store, rows.tags())
    coming = sorted(rows.arrivals(), key=lambda arrival: arrival[1][0])
    while coming:
        until_ns = coming[0][1][0] // SECOND * SECOND + step_s * SECOND
        # Rows come up to a second early, so that some wait in every checkpoint.
        soon = [arrival for arrival in coming if arrival[1][0] < until_ns + SECOND]
        coming = coming[len(soon) :]
        bench.add(soon)
        bench.advance(until_ns if coming else soon[-1][1][0])
        bench.engine, _ = again(bench)
    assert 0 == bench.late
    assert expected == bench.finish()
    assert expected["shelf_events"]


def test_an_engine_that_has_all_rows_already_gives_the_same_tables(busy):
    bench, data = busy
    other = Bench(bench.store, bench.names)
    other.add([])
    for clock_s in (0, 50, 51, 90):
        other.engine = read(bench, data) if clock_s == 50 else other.engine
        other.advance(START_NS + clock_s * SECOND)
    store, rows = scene()
    expected = Bench(store, rows.tags())
    expected.add(rows.arrivals())
    expected.advance(START_NS + 50 * SECOND)
    expected.out = Output()
    assert expected.finish() == other.finish()


def test_a_fresh_engine_and_a_finished_one_can_be_saved():
    store, rows = scene()
    bench = Bench(store, rows.tags())
    bench.engine, _ = again(bench)
    bench.add(rows.arrivals())
    assert whole(store, rows) == bench.finish()
    bench.engine, _ = again(bench)
    assert [] == bench.engine.finish().positions


def test_saving_changes_nothing_and_restored_engines_are_apart(busy):
    bench, data = busy
    before = state(bench.engine)
    one, other = read(bench, data), read(bench, data)
    assert state(one) == state(other)
    one.advance(START_NS + 90 * SECOND)
    assert state(one) != state(other)
    assert state(other) == state(read(bench, data))
    assert before == state(bench.engine)


def test_live_and_the_tags_to_keep_are_as_before(busy):
    bench, data = busy
    engine = read(bench, data)
    assert bench.engine.active_tags().tolist() == engine.active_tags().tolist()
    expected, actual = bench.engine.live(), engine.live()
    for field in dataclasses.fields(expected):
        np.testing.assert_array_equal(
            getattr(expected, field.name), getattr(actual, field.name), err_msg=field.name
        )


def test_waiting_rows_do_not_keep_the_portion_that_brought_them():
    store = shop()
    n, last = 40_000, 1000
    rng = np.random.default_rng(1)
    t_ns = START_NS + np.sort(rng.integers(0, last * SECOND, n))
    receiver = rng.integers(0, 6, n).astype(np.int16)
    sizes = []
    for cuts in ([0, n], np.searchsorted(t_ns, START_NS + np.arange(last + 1) * SECOND)):
        bench = Bench(store, ["p_a"])
        for start, end in itertools.pairwise(cuts):
            part = slice(start, end)
            none, level = np.zeros(end - start, np.int32), np.full(end - start, -60.0)
            bench.engine.add_readings(t_ns[part], receiver[part], none, level)
        bench.engine.advance(START_NS + (last - 5) * SECOND)
        sizes.append(len(save(bench.engine)))
    assert sizes[1] == pytest.approx(sizes[0], rel=0.02)


REFUSED = "; replay the journal instead"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"rules": dataclasses.replace(shop().rules, dwell_min_s=6.0)}, "another store file"),
        ({"staff_tags": ()}, "another store file"),
        ({"name": "Other"}, "another store file"),
    ],
)
def test_another_store_is_refused(busy, change, reason):
    bench, data = busy
    store = dataclasses.replace(bench.store, **change)
    grid = analytics.engine.build_cells(store)
    with pytest.raises(CheckpointError, match=reason + REFUSED):
        restore(
            data, store, radio_map_from_geometry(store, grid), name_of=names_of(bench), grid=grid
        )


def test_another_radio_map_is_refused(busy):
    bench, data = busy
    grid = analytics.engine.build_cells(bench.store)
    found = radio_map_from_geometry(bench.store, grid)
    other = dataclasses.replace(found, mean_dbm=found.mean_dbm + 0.5)
    with pytest.raises(CheckpointError, match="another radio map or other cells" + REFUSED):
        restore(data, bench.store, other, name_of=names_of(bench), grid=grid)


def test_another_version_is_refused(busy):
    bench, _ = busy
    data = save(bench.engine, version="1.0")
    with pytest.raises(CheckpointError, match="another version of the product" + REFUSED):
        read(bench, data)


def test_another_constant_or_another_method_is_refused(busy, monkeypatch):
    bench, data = busy
    with monkeypatch.context() as patch:
        patch.setattr(analytics.engine, "CLOSING_S", 21.0)
        with pytest.raises(CheckpointError, match="another build of the program"):
            read(bench, data)
    with monkeypatch.context() as patch:
        patch.setattr(Engine, "live", Engine.active_tags)
        with pytest.raises(CheckpointError, match="another build of the program"):
            read(bench, data)
    assert isinstance(read(bench, data), Engine)


@pytest.mark.parametrize("data", [b"", b"{}", b"PK\x03\x04" + bytes(500), b"fanous.engine/1\n"])
def test_foreign_data_are_refused(busy, data):
    with pytest.raises(CheckpointError, match=REFUSED):
        read(busy[0], data)


FUZZ = settings(
    max_examples=150,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@given(kept=st.floats(0, 1), flips=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 7))))
@FUZZ
def test_damage_is_refused(busy, kept, flips):
    bench, data = busy
    spoilt = bytearray(data[: round(kept * len(data))])
    for where, bit in flips:
        if spoilt:
            spoilt[round(where * (len(spoilt) - 1))] ^= 1 << bit
    if bytes(spoilt) == data:
        return
    with pytest.raises(CheckpointError, match=REFUSED):
        read(bench, bytes(spoilt))


def sealed(data, objects):
    """Return a checkpoint with other objects and all lengths and sums right."""
    magic = data.index(b"\n") + 1
    length = int.from_bytes(data[magic : magic + 4], "little")
    header = json.loads(data[magic + 4 : magic + 4 + length])
    numbers = data[magic + 4 + length + header["packed"][0] : -16]
    packed = b"".join(checkpoint._packed(objects))
    header |= {"objects": len(objects), "packed": [len(packed), len(numbers)]}
    text = json.dumps(header).encode()
    body = data[:magic] + len(text).to_bytes(4, "little") + text + packed + numbers
    return body + hashlib.blake2b(body, digest_size=16).digest()


def opened(data):
    """Return the table of arrays and the stream of objects of a checkpoint."""
    return pickle.loads(checkpoint._opened(data)[1])


@given(flips=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=6))
@FUZZ
def test_changed_objects_under_a_right_sum_are_refused_or_harmless(busy, flips):
    bench, data = busy
    table, stream = opened(data)
    spoilt = bytearray(stream)
    for where, value in flips:
        spoilt[round(where * (len(spoilt) - 1))] = value
    try:
        engine = read(bench, sealed(data, pickle.dumps((table, bytes(spoilt)), protocol=5)))
    except CheckpointError:
        return
    assert type(engine) is Engine


@given(at=st.floats(0, 1), row=st.lists(st.integers(-9, 9) | st.text(max_size=3), max_size=5))
@FUZZ
def test_a_changed_table_of_arrays_is_refused_or_harmless(busy, at, row):
    bench, data = busy
    table, stream = opened(data)
    where = round(at * (len(table) - 1))
    table[where] = (table[where][0], *row, *table[where][1 + len(row) :])
    try:
        engine = read(bench, sealed(data, pickle.dumps((table, stream), protocol=5)))
    except CheckpointError:
        return
    assert type(engine) is Engine


class Runs:
    """Pickled, it runs something when it is read."""

    def __init__(self, function, *given):
        self.function, self.given = function, given

    def __reduce__(self):
        return self.function, self.given


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize(
    "function", [os.mkdir, functools.partial, np.load, pickle.loads, getattr, Engine]
)
def test_nothing_that_a_checkpoint_names_is_run(busy, tmp_path, function, protocol):
    bench, data = busy
    table, _ = opened(data)
    bad = pickle.dumps(Runs(function, str(tmp_path / "ran")), protocol)
    for objects in (bad, pickle.dumps((table, bad), protocol=5)):
        with pytest.raises(CheckpointError, match=r"content is not valid \(UnpicklingError\)"):
            read(bench, sealed(data, objects))
    assert not (tmp_path / "ran").exists()


def test_an_attribute_that_has_no_place_in_a_state_is_named(busy, tmp_path):
    bench = Bench(shop(), [])
    with (tmp_path / "log").open("w") as file:
        bench.engine.log = file
        with pytest.raises(TypeError, match="cannot hold a _io:TextIOWrapper"):
            save(bench.engine)
    bench.engine.log = np.array([None])
    with pytest.raises(TypeError, match="cannot hold an array of object"):
        save(bench.engine)
    bench.engine.log = [np.random.default_rng(1)]
    with pytest.raises(TypeError, match="cannot hold a numpy"):
        save(bench.engine)


def copied(*arrays):
    """Write and read arrays; return them and the number of bytes."""
    writer = ArrayWriter(lambda _: None)
    keys = [writer.add(array)[1] for array in arrays]
    table, numbers = writer.finish()
    reader = ArrayReader(table, numbers, {}.__getitem__)
    return [reader.get(key) for key in keys], len(numbers)


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.bool_, np.uint8, ">f8"])
@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_arrays_keep_their_numbers_and_their_order_in_memory(dtype, axes):
    array = np.ascontiguousarray(np.arange(24).reshape(2, 3, 4).astype(dtype)).transpose(axes)
    (found,), size = copied(array)
    np.testing.assert_array_equal(array, found)
    assert (array.dtype, array.strides) == (found.dtype, found.strides)
    assert array.nbytes == size
    assert found.flags.writeable


@pytest.mark.parametrize("shape", [(0,), (3, 0), ()])
def test_empty_arrays_and_single_numbers(shape):
    (found,), _ = copied(np.ones(shape))
    np.testing.assert_array_equal(np.ones(shape), found)


def test_arrays_that_look_at_the_same_memory_do_so_again():
    whole_one = np.arange(12.0).reshape(3, 4)
    part, backwards = whole_one[:, :2], whole_one[::-1, 3]
    (a, b, c), size = copied(whole_one, part, backwards)
    a[0] = -1.0
    assert [-1.0, -1.0] == b[0].tolist()
    assert [11.0, 7.0, -1.0] == c.tolist()
    assert whole_one.nbytes == size


def test_slices_that_do_not_overlap_are_written_alone():
    long = np.arange(1000.0)
    found, size = copied(long[3:5], long[10:12])
    assert [[3.0, 4.0], [10.0, 11.0]] == [array.tolist() for array in found]
    assert 4 * long.itemsize == size
