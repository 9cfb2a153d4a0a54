"""Contract section 5, as a program outside sees it: batches, acks, events, live, clocks."""

import contextlib
import itertools
import json
import struct
import time

import msgspec
import paho.mqtt.client as mqtt
import pytest
import zstandard

from tests.system.outside import ANNA, BEN, SECOND, T0, batch, ble, outside, plate, tap
from tests.system.servers import wait_until

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("servers")]

EXAMPLE = json.loads("""
{"schema": "fanous.batch/1", "store": "demo", "agent": "pi-1", "boot": "6f1c0e9a2b7d4c31", "kind": "ble", "seq": 42, "sent_ns": 1764000000500000000,
 "columns": {"t_ns": [1764000000000000000, 1764000000100000000], "receiver": ["rx-1", "rx-1"], "tag": ["p_abcdefghijklmnop", "p_qrstuvwxyz234567"], "rssi_dbm": [-61, -75]}}
""")  # noqa: E501
pack = msgspec.msgpack.encode
zstd = zstandard.ZstdCompressor().compress
boots = (f"boot-{number}" for number in itertools.count())
COLUMNS = {
    "zone.entered": "t_ns tag layer zone zone_p",
    "zone.left": "t_ns tag layer zone zone_p",
    "tag.tapped": "t_ns tap_point tag",
    "agent.silent": "agent since_ns",
    "dwell.recorded": "dwell visit tag layer zone start_ns end_ns dwell_s sigma_s confidence "
    "readings",
    "visit.started": "visit tag start_ns end_ns visit_s zones path path_length_m directness "
    "hesitations taps shelf_s picks returns purpose purpose_p",
    "shelf.picked": "event t_ns shelf sensor gtin kind status quantity delta_g confidence tag "
    "tag_p",
    "sensor.fault": "sensor state since_ns reason",
    "shelf.low": "t_ns shelf gtin quantity sigma mass_g state",
    "shelf.empty": "t_ns shelf gtin quantity sigma mass_g state",
}
COLUMNS["visit.ended"] = COLUMNS["visit.started"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """One gateway with the data's clock for the tests that need no clean one."""
    with outside(tmp_path_factory.mktemp("shop")) as made:
        yield made


def typed(columns):
    """Columns as typed bytes and coded strings."""

    def number(form, dtype, values):
        return {"dtype": dtype, "data": struct.pack(f"<{len(values)}{form}", *values)}

    def coded(values):
        index = list(dict.fromkeys(values))
        codes = bytes(map(index.index, values))
        return {"values": index, "codes": {"dtype": "|u1", "data": codes}}

    return {
        "t_ns": number("q", "<i8", columns["t_ns"]),
        "receiver": coded(columns["receiver"]),
        "tag": coded(columns["tag"]),
        "rssi_dbm": number("b", "|i1", columns["rssi_dbm"]),
    }


FORMS = {
    "JSON": lambda body: json.dumps(body).encode(),
    "MessagePack with lists": pack,
    "MessagePack with bytes": lambda body: pack({**body, "columns": typed(body["columns"])}),
    "zstd": lambda body: pack(
        {
            "schema": "fanous.batch/1+zstd",
            "data": zstd(pack({**body, "columns": typed(body["columns"])})),
        }
    ),
}


@pytest.mark.parametrize("protocol", [mqtt.MQTTv311, mqtt.MQTTv5])
@pytest.mark.parametrize("form", FORMS)
def test_a_batch_in_any_form_is_stored_and_acknowledged(shop, form, protocol):
    boot, client = next(boots), shop.connect(protocol)
    before = shop.summary()["readings"]
    body = {**EXAMPLE, "boot": boot, "seq": 1}
    shop.publish("readings", FORMS[form](body), client=client)
    wait_until(lambda: shop.acked("ble", boot=boot) == 1, "the acknowledgement")
    assert {"boot": boot, "kind": "ble", "seq": 1} == shop.acks()[-1]
    assert before + 2 == shop.summary()["readings"]


def test_the_example_itself_waits_for_what_comes_before_it(shop):
    before = shop.summary()
    shop.publish("readings", EXAMPLE)
    wait_until(lambda: shop.summary()["readings"] == before["readings"] + 2, "it is stored")
    assert 0 == shop.acked("ble")
    for seq in range(1, 42):
        columns = {} if seq % 2 else {"t_ns": [], "receiver": [], "tag": [], "rssi_dbm": []}
        body = batch("ble", seq, columns, dropped=10, reason="outbox_full")
        shop.publish("readings", body if seq % 3 else pack(body))
    wait_until(lambda: shop.acked("ble") == 42, "everything up to it is acknowledged")
    after = shop.summary()
    assert before["readings"] + 2 == after["readings"]
    assert before["lost"] + 410 == after["lost"]
    assert shop.process.poll() is None


def test_acks_are_cumulative_by_boot_and_kind_repeated_and_never_retained(shop):
    first, second = next(boots), next(boots)
    send = lambda seq, boot: shop.publish("readings", batch("ble", seq, ble(T0), boot=boot))  # noqa: E731
    for seq in (1, 2, 5, 4):
        send(seq, first)
    send(1, second)
    shop.publish("taps", batch("tap", 1, tap(T0), boot=first))
    wait_until(lambda: shop.acked("tap", boot=first) == 1, "another kind")
    wait_until(lambda: shop.acked("ble", boot=second) == 1, "another boot")
    assert 2 == shop.acked("ble", boot=first)
    send(3, first)
    wait_until(lambda: shop.acked("ble", boot=first) == 5, "the gap is filled")
    duplicates, acks = shop.summary()["duplicates"], len(shop.acks())
    send(2, first)
    wait_until(lambda: len(shop.acks()) > acks, "a duplicate is acknowledged again")
    assert {"boot": first, "kind": "ble", "seq": 5} == shop.acks()[-1]
    assert duplicates + 1 == shop.summary()["duplicates"]
    assert not any(retained for _, topic, _, retained in shop.messages if topic.endswith("/ack"))
    noted = len(shop.messages)
    shop.connect()
    shop.publish("status", {"state": "online"}, agent="pi-9")
    wait_until(lambda: len(shop.messages) > noted, "the new client hears something")
    late = [topic for _, topic, _, retained in shop.messages[noted:] if retained]
    assert [] == [topic for topic in late if topic.endswith("/ack")]


def _bad_batches():
    good = ble(T0)
    rows = len(good["t_ns"])
    raw = ["ble:b0b0b0b0b0b0"] * rows
    yield "another store", "name", {"store": "other"}
    yield "another agent than the topic's", "name", {"agent": "pi-2"}
    yield "unequal lengths", "length", {"columns": {**good, "rssi_dbm": [-60] * (rows - 1)}}
    yield "raw tags", "identity", {"columns": {**good, "tag": raw}}
    yield "a column of another kind", "columns", {"columns": {**good, "mass_g": [1.0] * rows}}
    yield "no tags", "columns", {"columns": {k: v for k, v in good.items() if k != "tag"}}
    yield "text for numbers", "shape", {"columns": {**good, "rssi_dbm": ["loud"] * rows}}
    yield "fractions for times", "shape", {"columns": {**good, "t_ns": [0.5] * rows}}
    yield "a bad name", "name", {"columns": {**good, "receiver": ["RX 1"] * rows}}
    yield "300 KiB", "oversize", {"reason": "x" * 300 * 1024}
    yield "another schema", "schema", {"schema": "fanous.batch/9"}
    yield "rows in place of dropped ones", "dropped", {"dropped": 3}


@pytest.mark.parametrize(
    ("reason", "change"),
    [pytest.param(reason, change, id=name) for name, reason, change in _bad_batches()],
)
def test_a_malformed_batch_is_refused_whole_counted_kept_and_acknowledged(shop, reason, change):
    boot, before = next(boots), shop.summary()
    shop.publish("readings", {**batch("ble", 1, ble(T0), boot=boot), **change})
    wait_until(lambda: shop.acked("ble", boot=boot) == 1, "it is acknowledged")
    shop.publish("readings", batch("ble", 2, ble(T0), boot=boot))
    wait_until(lambda: shop.acked("ble", boot=boot) == 2, "the stream goes on")
    after = shop.summary()
    assert before["refused"].get(reason, 0) + 1 == after["refused"][reason]
    assert before["dead_letters"] + 1 == after["dead_letters"]
    assert before["readings"] + len(ble(T0)["t_ns"]) == after["readings"]


@pytest.mark.parametrize(
    ("leaf", "payload", "kind", "acked"),
    [
        ("readings", b"{garbage", "ble", 0),
        ("readings", b"", "ble", 0),
        ("readings", b"\x93\x01\x02\x03", "ble", 0),
        ("readings", pack({"schema": "fanous.batch/1+zstd", "data": b"nothing"}), "ble", 0),
        ("readings", {"seq": 0}, "ble", 0),
        ("readings", {"seq": -3}, "ble", 0),
        ("readings", {"seq": "7"}, "ble", 0),
        ("readings", {"kind": "smell"}, "ble", 0),
        ("readings", {"kind": "tap", "columns": tap(T0)}, "tap", 1),
        ("taps", {"columns": {**tap(T0), "tap_point": []}, "kind": "tap"}, "tap", 1),
        ("readings", "zstd of a bad one", "ble", 1),
    ],
)
def test_what_is_acknowledged_follows_from_what_can_be_read(shop, leaf, payload, kind, acked):
    boot, before = next(boots), shop.summary()["dead_letters"]
    good = batch("ble", 1, ble(T0), boot=boot)
    if isinstance(payload, str):
        bad = {**good, "columns": {**good["columns"], "rssi_dbm": [-60]}}
        payload = pack({"schema": "fanous.batch/1+zstd", "data": zstd(pack(bad))})
    shop.publish(leaf, {**good, **payload} if isinstance(payload, dict) else payload)
    wait_until(lambda: shop.summary()["dead_letters"] == before + 1, "it is kept")
    if acked:
        wait_until(lambda: shop.acked(kind, boot=boot) == acked, "it is acknowledged")
    else:
        assert [] == [ack for ack in shop.acks() if ack["boot"] == boot]


def test_no_log_line_quotes_an_identifier(shop):
    assert "b0b0" not in shop.log()
    assert ANNA not in shop.log()
    assert "Traceback" not in shop.log()


@contextlib.contextmanager
def fresh(directory, **more):
    with outside(directory, **more) as made:
        yield made


def _send(shop, begin_ns, seconds, step, *, agent):
    """Whole seconds: readings, then the tap, then the samples of the same seconds."""
    for number, second in enumerate(range(0, seconds, step), start=1):
        at_ns = begin_ns + second * SECOND
        for leaf, kind, columns in (
            ("readings", "ble", ble(at_ns, step, tags=(ANNA, BEN))),
            ("taps", "tap", tap(at_ns)),
            ("samples", "sample", plate(at_ns, step)),
        ):
            shop.publish(leaf, batch(kind, number, columns, agent=agent), agent=agent)


@pytest.mark.parametrize("step", [1, 5])
def test_a_publisher_of_whole_seconds_loses_no_row_as_late(tmp_path, step):
    with fresh(tmp_path) as shop:
        _send(shop, T0, 20, step, agent="esp32-7")
        # A tick closes one second (`lateness_s`) after its end, and not before.
        last_ns = T0 + 18 * SECOND
        wait_until(lambda: shop.summary()["t_ns"] == last_ns, "the ticks close", timeout_s=3)
        found = shop.summary()
        assert (400, 20 // step, 200) == (found["readings"], found["taps"], found["samples"])
        assert (0, 0, {}, 2) == (found["late"], found["lost"], found["dropped"], found["people"])
        assert "esp32-7" in found["agents"]
        shop.publish(
            "readings", batch("ble", 99, ble(T0 + 20 * SECOND), agent="esp32-7"), agent="esp32-7"
        )
        wait_until(lambda: shop.summary()["t_ns"] == last_ns + SECOND, "one more", timeout_s=3)
        wait_until(lambda: shop.live()[-1][1]["t_ns"] == last_ns + SECOND, "so in the picture")


def test_agents_of_the_store_file_that_never_come_are_not_waited_for_long(tmp_path):
    with fresh(tmp_path, clock="wall", agents=("pi-1", "pi-2")) as shop:
        began_s = time.monotonic()
        _send(shop, time.time_ns() - 20 * SECOND, 20, 1, agent="esp32-7")
        wait_until(lambda: shop.events("zone.entered"), "a zone is entered", timeout_s=10)
        assert time.monotonic() - began_s < 8
        assert 0 == shop.summary()["late"]


def test_the_wall_clock_sets_aside_what_cannot_be_and_tells_the_rest(tmp_path):
    with fresh(tmp_path, clock="wall") as shop:
        now_ns, hour = time.time_ns(), 3600 * SECOND
        times = [now_ns + 63 * SECOND, now_ns - 73 * hour, now_ns - SECOND, now_ns + 50 * SECOND]
        columns = {
            "t_ns": times,
            "receiver": ["rx-1"] * 4,
            "tag": [ANNA] * 4,
            "rssi_dbm": [-60] * 4,
        }
        shop.publish("readings", batch("ble", 1, columns))
        taps = {"t_ns": times, "tap_point": ["gate-1"] * 4, "tag": [ANNA] * 4}
        shop.publish("taps", batch("tap", 1, taps))
        wait_until(lambda: len(shop.events("tag.tapped")) == 2, "two taps can be")
        wait_until(
            lambda: shop.summary()["dropped"] == {"time_ahead": 2, "time_behind": 2},
            "the others are counted",
        )
        found = shop.summary()
        assert (4, 4) == (found["readings"], found["taps"]), "all are durable"
        wait_until(lambda: shop.acked("ble") == shop.acked("tap") == 1, "acknowledged")


def test_events_are_cloud_events_whose_ids_are_stable(tmp_path):
    with fresh(tmp_path) as shop:
        for second in range(100):
            at_ns = T0 + second * SECOND
            near = "rx-1" if second < 50 else "rx-2"
            columns = plate(at_ns)
            columns["mass_g"] = [6400.0 - 640.0 * (second >= 30)] * 10
            shop.publish("samples", batch("sample", second + 1, columns))
            shop.publish("readings", batch("ble", second + 1, ble(at_ns, near=near)))
        shop.publish("taps", batch("tap", 1, tap(T0 + 99 * SECOND)))
        # A day later everything is over; the shelf has been silent.
        shop.publish("readings", batch("ble", 101, ble(T0 + 86_400 * SECOND, tags=(BEN,))))
        shop.publish("status", {"state": "offline"})
        for name in ("visit.ended", "dwell.recorded", "agent.silent", "shelf.picked", "tag.tapped"):
            wait_until(lambda name=name: shop.events(name), name)
        first = {body["id"]: (name, body) for name, body in shop.events()}
        live = shop.live()
        assert 0 == shop.stop()
        assert "Traceback" not in shop.log()
        for path in (tmp_path / "state").glob("results.sqlite*"):
            path.unlink()
        shop.messages.clear()
        shop.start()
        wait_until(lambda: shop.events("visit.ended"), "the journal tells everything again")
        wait_until(
            lambda: (
                {name for name, _ in first.values()} - {"agent.silent"}
                <= {name for name, _ in shop.events()}
            ),
            "every kind of event again",
        )
        again = {body["id"]: (name, body) for name, body in shop.events()}
    silent = {at for at, (name, _) in first.items() if name == "agent.silent"}
    assert first.keys() - again.keys() <= silent
    assert {at: first[at] for at in first.keys() - silent} == {
        at: again[at] for at in first.keys() - silent
    }
    for name, body in first.values():
        assert {
            *("specversion", "type", "source", "id", "time", "subject"),
            *("datacontenttype", "data"),
        } == set(body)
        assert ("1.0", f"io.fanous.{name}.v1", "/stores/demo") == (
            *(body["specversion"], body["type"]),
            body["source"],
        )
        assert COLUMNS[name].split() == list(body["data"]), name
        assert body["time"].endswith("Z")
    shapes = dict(first.values())
    assert "shoes" in {b["subject"] for n, b in first.values() if n == "zone.entered"}
    assert ANNA == shapes["visit.ended"]["subject"] == shapes["tag.tapped"]["subject"]
    assert "shoes-1" == shapes["shelf.picked"]["subject"]
    assert {
        f"{b['data']['event']}/{b['data']['status']}"
        for n, b in first.values()
        if n == "shelf.picked"
    } == {b["id"] for n, b in first.values() if n == "shelf.picked"}
    assert "final" in {b["data"]["status"] for n, b in first.values() if n == "shelf.picked"}
    assert {"t_ns", "zones", "queues", "alarms"} == set(live[-1][1])
    assert {"shoes", "promo"} == set(live[-1][1]["zones"])
    pauses_s = [after - before for (before, _), (after, _) in itertools.pairwise(live)]
    assert 0.7 < sum(pauses_s) / len(pauses_s) < 1.5
