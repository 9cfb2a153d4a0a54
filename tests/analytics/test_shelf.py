import numpy as np
import pytest

from analytics.shelf import ShelfCore
from analytics.store import Sensor, Shelf, Store
from tests.analytics.shelf_bench import Bench, booked, kinds, small_store
from tests.analytics.shelf_signals import START_NS


def close(expected, out, slack_s=0.5):
    found = booked(out)
    assert [e[:3] for e in expected] == [f[:3] for f in found]
    for e, f in zip(expected, found, strict=True):
        assert pytest.approx(e[3], abs=slack_s) == f[3]


def test_pick_with_a_press_of_250_g():
    out = Bench().press(29.7, 2, 250, 0.4).step(30.0, 2, -300).play()
    close([("pick", 1, 1, 30.0)], out)
    (event,) = [e for e in out.events if e.kind == "pick"]
    assert "shelf-1-p2" == event.sensor
    assert pytest.approx(-300, abs=3) == event.delta_g
    assert event.confidence > 0.9
    assert 16 == len(event.event)


def test_two_picks_of_one_product_a_third_of_a_second_apart():
    out = Bench().step(30.0, 2, -300).step(30.3, 3, -300).play()
    assert 2 == sum(q for _, product, q, _ in booked(out) if product == 1)
    assert {"pick"} == {kind for kind, *_ in booked(out)}


def test_pick_and_put_back_are_two_events():
    out = Bench().step(30.0, 2, -300).step(31.5, 2, 300).play()
    close([("pick", 1, 1, 30.0), ("return", 1, 1, 31.5)], out)


def test_an_item_over_three_plates_is_one_event():
    bench = Bench()
    for plate, share in ((2, 0.17), (3, 0.57), (4, 0.26)):
        bench.step(30.0, plate, -300 * share)
    close([("pick", 1, 1, 30.0)], bench.play())


def test_cross_talk_of_a_heavy_item_is_no_second_item():
    out = Bench().step(30.0, 6, -1500).step(30.0, 5, -30).step(30.0, 7, -30).play()
    close([("pick", 3, 1, 30.0)], out)


def test_a_light_item_beside_a_heavy_one_half_a_second_later():
    out = Bench().step(30.0, 10, -1250).step(30.5, 9, -70).play()
    assert {(4, 1), (5, 1)} == {(product, q) for _, product, q, _ in booked(out)}


@pytest.mark.parametrize("hold", [1.5, 3.0, 4.0])
def test_a_resting_hand_is_no_item(hold):
    out = Bench().press(30.0, 2, 300, hold).play()
    assert [] == booked(out)
    assert "touch" in kinds(out)


def test_an_add_that_was_a_hand_is_retracted_under_the_same_id():
    out = Bench().press(30.0, 2, 300, 3.0).play()
    status = {e.status: e.event for e in out.events if e.kind in ("return", "restock")}
    assert {"provisional", "retracted"} == set(status)
    assert 1 == len(set(status.values()))


def test_a_lean_over_five_plates_is_no_item():
    bench = Bench()
    for plate, grams in zip(range(3, 8), (120, 260, 300, 220, 90), strict=True):
        bench.press(30.0, plate, grams, 5.0)
    out = bench.play()
    assert [] == booked(out)
    assert "unknown" not in kinds(out)


def test_an_item_half_on_a_dead_plate():
    bench = Bench().step(40.0, 4, -350)
    bench.load[:, 5] = 3200.0
    rows = list(bench.rows())
    rows[2] = np.where(rows[1] == 5, 3200.0, rows[2])
    out = bench.play(rows=rows)
    close([("pick", 2, 1, 40.0)], out)
    assert "shelf-1-p5" in {h.sensor for h in out.health if h.state == "stuck"}
    assert "fault" in {r.state for r in out.stock if int(r.gtin) == 2}


def test_a_whole_gondola_set_to_zero_is_a_rezero():
    bench = Bench()
    bench.load[bench.t >= 30.0] -= 400
    out = bench.play()
    assert ["rezero"] == kinds(out)


def test_drift_of_fifty_grams_is_nothing():
    bench = Bench(secs=600, fs=5)
    bench.load += (50 * bench.t / 600)[:, None]
    assert [] == kinds(bench.play())


def test_a_pick_under_nineteen_grams_of_noise():
    close([("pick", 1, 1, 40.0)], Bench(noise_g=19.0).step(40.0, 2, -300).play(), slack_s=0.8)


def test_two_dozen_units_are_one_restock():
    bench = Bench(secs=80)
    for k in range(24):
        bench.step(30 + 0.8 * k, 2 + k % 2, 300)
    out = bench.play()
    assert {"restock"} == {kind for kind, *_ in booked(out)}
    assert pytest.approx(24, abs=1.2) == sum(q for _, _, q, _ in booked(out))


def test_a_strange_object_is_never_an_item():
    out = Bench().step(30.0, 2, 450.0).play()
    assert [] == booked(out)
    assert ["unknown"] == kinds(out)


def test_a_product_put_on_the_wrong_shelf_is_foreign_with_its_name():
    out = Bench().step(25.0, 6, -1500).step(35.0, 0, 850).step(35.0, 1, 650).play()
    (event,) = [e for e in out.events if e.kind in ("foreign", "restock", "unknown")]
    assert ("foreign", f"{3:014d}") == (event.kind, event.gtin)


def test_impossible_values_are_counted_and_change_nothing():
    rows = Bench().step(30.0, 2, -300).rows()
    bad = np.array([np.nan, np.inf, 65535.0, -70000.0])
    more = (
        np.concatenate([rows[0], rows[0][:4], rows[0][:1]]),
        np.concatenate([rows[1], np.zeros(4, np.int16), np.array([99], np.int16)]),
        np.concatenate([rows[2], bad, [5.0]]),
    )
    clean, dirty = ShelfCore(small_store()), ShelfCore(small_store())
    clean.add(*rows)
    dirty.add(*more)
    assert clean.finish() == dirty.finish()
    assert 5 == dirty.samples.impossible


def test_late_rows_are_refused_and_counted():
    core = ShelfCore(small_store())
    rows = Bench(secs=2).rows()
    assert 0 == core.add(*rows)
    core.advance(START_NS + 1_000_000_000)
    late = int((rows[0] < START_NS + 1_000_000_000).sum())
    assert late == core.add(*rows)


def test_columns_of_different_length_are_refused():
    core = ShelfCore(small_store())
    with pytest.raises(ValueError, match="one length"):
        core.add(np.zeros(2, np.int64), np.zeros(3, np.int16), np.zeros(2))


def test_hours_without_data_cost_nothing():
    core = ShelfCore(small_store())
    first, second = Bench(secs=20).rows(), Bench(secs=20).rows()
    core.add(*first)
    core.add(second[0] + 3_000_000 * 1_000_000_000, second[1], second[2])
    ticks = []
    step = core.plates.step
    core.plates.step = lambda tick, *rest: (ticks.append(tick), step(tick, *rest))[1]
    core.finish()
    assert len(ticks) < 2000


def test_a_store_without_shelves_and_one_without_products_give_nothing():
    empty = Store(id="e", name="", timezone="UTC", outline_m=(), receivers=())
    assert ([], [], []) == tuple(
        getattr(ShelfCore(empty).finish(), x) for x in ("events", "stock", "health")
    )
    bare = Store(
        id="e",
        name="",
        timezone="UTC",
        outline_m=(),
        receivers=(),
        shelves=(Shelf(id="a", zone="z", sensors=(Sensor(id="p", kind="mass"),)),),
    )
    t = START_NS + np.arange(600) * 100_000_000
    core = ShelfCore(bare)
    core.add(t, np.zeros(600, np.int16), np.where(np.arange(600) < 300, 1000.0, 700.0))
    out = core.finish()
    assert [] == out.stock
    assert ["unknown"] == kinds(out)


def test_stock_is_estimated_and_follows_the_events():
    bench = Bench()
    bench.step(30.0, 2, -300).step(36.0, 3, -300)
    rows = [r for r in bench.play().stock if int(r.gtin) == 1]
    assert [10, 9, 8, 8] == [r.quantity for r in rows]
    assert {"ok"} == {r.state for r in rows}
    assert pytest.approx(2400, abs=10) == rows[-1].mass_g


def test_stock_is_empty_when_ledger_and_mass_agree():
    bench = Bench()
    bench.load[:, 2:4] = 0.0
    bench.load[:, 2] = 300.0
    bench.step(30.0, 2, -300)
    rows = [r for r in bench.play().stock if int(r.gtin) == 1]
    assert [(1, "low"), (0, "empty"), (0, "empty")] == [(r.quantity, r.state) for r in rows]


def test_silent_noisy_and_offset_plates_are_flagged_and_recover():
    bench = Bench(secs=90)
    bench.load[:, 0] = -250.0
    rows = bench.rows()
    gone = (rows[1] == 1) & (rows[0] > START_NS + 20e9) & (rows[0] < START_NS + 40e9)
    loud = (rows[1] == 2) & (rows[0] > START_NS + 20e9)
    value = rows[2] + np.where(loud, np.random.default_rng(1).normal(0, 90, len(rows[2])), 0)
    out = bench.play(rows=(rows[0][~gone], rows[1][~gone], value[~gone]))
    states = {}
    for h in out.health:
        states.setdefault(h.sensor, []).append(h.state)
    assert "offset" in states["shelf-1-p0"]
    assert ["ok", "silent", "ok"] == states["shelf-1-p1"]
    assert "noisy" in states["shelf-1-p2"]
    assert ["ok"] == states["shelf-1-p3"]
    (silent,) = [h for h in out.health if h.state == "silent"]
    assert pytest.approx(20, abs=0.3) == (silent.since_ns - START_NS) / 1e9
