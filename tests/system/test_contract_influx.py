"""Contract section 6, read back by InfluxQL from a real influxd.

The measurements, their tags, fields and types; the rule of timestamps; identities; and,
through a real broker and the real engine, the fields that more than one row decides.
"""

import hashlib
import json
import time
import urllib.parse
import urllib.request

import pytest

from analytics.rows import (
    Dwell,
    Occupancy,
    Output,
    QueueMinute,
    ShelfEvent,
    ShelfStock,
    Transition,
    Visit,
)
from gateway.gate import Gate
from gateway.influx import InfluxSink
from gateway.points import PointMaker, encode_points
from gateway.result_store import ResultStore, Step
from gateway.settings import AlarmSettings, InfluxSettings
from gateway.visit_history import History
from tests.gateway.rows import dwell, visit
from tests.gateway.samples import ANNA, BEN, SECOND, STORE, STORE_TOML, T0, readings, settings_for
from tests.gateway.samples import samples as sample_batch
from tests.gateway.samples import taps as tap_batch
from tests.system.gateway_rig import agent, gateway
from tests.system.servers import influxd, mosquitto, wait_until

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("servers")]

MINUTE = 60 * SECOND
MINUTE_END = T0 // MINUTE * MINUTE + MINUTE
SCHEMA = {
    "occupancy": ("store zone", "people:integer max:integer state:string"),
    "dwell": (
        "store zone zone_kind",
        "dwell_s:float sigma_s:float readings:integer confidence:float visit:string visitor:string",
    ),
    "visit": (
        "store purpose",
        """visit_s:float zones:integer path_length_m:float directness:float hesitations:integer
        taps:integer shelf_s:float picks:integer returns:integer earlier_visits:integer
        days_since_last:float path:string visit:string visitor:string""",
    ),
    "transition": ("store from_zone to_zone", "count:integer median_s:float p90_s:float"),
    "shelf_event": (
        "store shelf gtin kind",
        "quantity:integer delta_g:float confidence:float visit:string",
    ),
    "shelf_stock": (
        "store shelf gtin",
        "quantity:integer sigma:float mass_g:float state:string",
    ),
    "queue": ("store zone", "length:integer wait_p50_s:float wait_p90_s:float abandoned:integer"),
    "tap": ("store tap_point role", "count:integer"),
    "agent": (
        "store agent",
        """up:boolean outbox:integer readings_per_s:float dropped:integer clock_offset_ms:float
        temperature_c:float""",
    ),
}


@pytest.fixture
def database(tmp_path):
    with influxd(tmp_path / "influxd") as server:
        yield server


def ask(server, query):
    """Rows of an answer, with the tags of their series."""
    words = urllib.parse.urlencode({"db": "fanous", "q": query, "epoch": "ns"})
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/query?{words}") as reply:
        (result,) = json.loads(reply.read())["results"]
    assert "error" not in result, result
    return [
        dict(zip(series["columns"], row, strict=True)) | series.get("tags", {})
        for series in result.get("series", [])
        for row in series["values"]
    ]


class Sinking:
    """Points to a real influxd through the durable queue, as the service does it."""

    def __init__(self, directory, server, *, identity="pseudonym", gate=None):
        self.results = ResultStore(directory / "results.sqlite")
        url = f"http://127.0.0.1:{server.port}"
        self.sink = InfluxSink(InfluxSettings(url=url, database="fanous"), self.results)
        self.maker = PointMaker(STORE, gate or Gate(), identity=identity)

    def write(self, points):
        step = Step(journal_id=1, watermark_ns=None)
        self.results.save(Output(), step, lines=encode_points(points))
        assert 0.0 == self.sink.flush_once()
        assert 0 == self.results.counts().get("points_refused", 0)

    def close(self):
        self.results.close()


def allowing(visitor, purpose):
    return (visitor, purpose) == (ANNA, "analytics")


@pytest.fixture
def sinking(tmp_path, database):
    made = Sinking(tmp_path, database, gate=Gate(allowing))
    yield made
    made.close()


def everything(maker):
    """One point of every measurement, with every field."""
    transition = Transition(
        layer="main", from_zone="shoes", to_zone="promo", count=2, median_s=1.0, p90_s=2.0
    )
    output = Output(
        dwells=[dwell("d1", T0)],
        visits=[Visit(**{**as_dict(visit("v1", T0)), "directness": 1})],
        shelf_events=[
            ShelfEvent(
                event="e1",
                t_ns=T0,
                shelf="shoes-1",
                sensor="plate-1",
                gtin="04012345678901",
                kind="pick",
                status=status,
                quantity=1,
                delta_g=-640,
                confidence=1,
                tag=ANNA,
            )
            for status in ("provisional", "final", "retracted")
        ],
        shelf_visits=[("e1", "v1")],
        shelf_stock=[
            ShelfStock(
                t_ns=T0, shelf="shoes-1", gtin="1", quantity=3, sigma=0, mass_g=5, state="low"
            )
        ],
        occupancy=[Occupancy(t_ns=MINUTE_END, layer="main", zone="shoes", people=2)],
        queues=[
            QueueMinute(
                t_ns=MINUTE_END, zone="promo", length=2, wait_p50_s=4, wait_p90_s=9, abandoned=0
            )
        ],
    )
    points = maker.of_output(output, {"v1": History(earlier_visits=2, days_since_last=7)})
    maker.count_taps([T0], ["gate-1"])
    points += maker.of_taps(MINUTE_END)
    maker.of_hour(T0, lambda _from, _to: [transition])
    points += maker.of_hour(T0 + 3600 * SECOND, lambda _from, _to: [transition])
    fields = {
        "up": True,
        "outbox": 3,
        "readings_per_s": 8,
        "dropped": 0,
        "clock_offset_ms": -2,
        "temperature_c": 41,
    }
    return [*points, maker.of_agent(MINUTE_END, "pi-1", fields)]


def as_dict(row):
    return {name: getattr(row, name) for name in row.__dataclass_fields__}


def test_measurements_tags_fields_and_types(sinking, database):
    sinking.write(everything(sinking.maker))
    assert sorted(SCHEMA) == sorted(row["name"] for row in ask(database, "SHOW MEASUREMENTS"))
    for name, (tags, fields) in SCHEMA.items():
        found = {row["tagKey"] for row in ask(database, f'SHOW TAG KEYS FROM "{name}"')}
        assert set(tags.split()) == found, name
        types = {
            f"{row['fieldKey']}:{row['fieldType']}"
            for row in ask(database, f'SHOW FIELD KEYS FROM "{name}"')
        }
        assert set(fields.split()) == types, name
    (event,) = ask(database, "SELECT * FROM shelf_event")
    assert (1, -640.0, "v1", "pick") == (
        *(event["quantity"], event["delta_g"]),
        *(event["visit"], event["kind"]),
    )
    (row,) = ask(database, "SELECT * FROM occupancy")
    assert (2, 2, "busy") == (row["people"], row["max"], row["state"])
    (row,) = ask(database, "SELECT * FROM visit")
    assert (2, 7.0, "v1") == (row["earlier_visits"], row["days_since_last"], row["visit"])
    values = ask(database, "SHOW TAG VALUES WITH KEY =~ /.*/")
    assert ANNA not in {row["value"] for row in values}


def hashed(t_ns, row_id):
    """The rule of the contract, written a second time."""
    digest = hashlib.blake2b(row_id.encode(), digest_size=8).digest()
    return t_ns // 10**6 * 10**6 + int.from_bytes(digest, "big") % 10**6


def test_timestamps_carry_the_rows_id_and_the_end_of_a_period(sinking, database):
    for _ in range(2):  # a rewrite changes nothing
        sinking.write(everything(sinking.maker))
    hour_end = -(-T0 // (3600 * SECOND)) * 3600 * SECOND
    expected = {
        "dwell": hashed(T0 + 60 * SECOND, "d1"),
        "visit": hashed(T0 + 120 * SECOND, "v1"),
        "shelf_event": hashed(T0, "e1"),
        "shelf_stock": T0,
        "occupancy": MINUTE_END,
        "queue": MINUTE_END,
        "tap": MINUTE_END,
        "agent": MINUTE_END,
    }
    for name, t_ns in expected.items():
        assert [t_ns] == [row["time"] for row in ask(database, f'SELECT * FROM "{name}"')], name
    hours = [row["time"] for row in ask(database, "SELECT * FROM transition")]
    assert all(t_ns % (3600 * SECOND) == 0 for t_ns in hours)
    assert hour_end in hours


def test_two_people_in_the_same_millisecond_are_both_kept(sinking, database):
    rows = [dwell("d1", T0), dwell("d2", T0 + 400_000, tag=BEN, visit="v2")]
    sinking.write(sinking.maker.of_output(Output(dwells=rows), {}))
    found = ask(database, "SELECT visit FROM dwell")
    assert {"v1", "v2"} == {row["visit"] for row in found}
    assert len({row["time"] // 10**6 for row in found}) == 1


@pytest.mark.parametrize(
    ("identity", "gate", "expected"),
    [
        ("none", Gate(allowing), {None}),
        ("pseudonym", Gate(), {None}),
        ("pseudonym", Gate(allowing), {ANNA, None}),
    ],
)
def test_a_visitor_is_named_only_where_the_gate_lets_it(
    tmp_path, database, identity, gate, expected
):
    sinking = Sinking(tmp_path, database, identity=identity, gate=gate)
    rows = [dwell("d1", T0), dwell("d2", T0, tag=BEN)]
    sinking.write(sinking.maker.of_output(Output(dwells=rows), {}))
    sinking.close()
    found = ask(database, "SELECT * FROM dwell")
    assert len(rows) == len(found)
    assert expected == {row.get("visitor") for row in found}
    assert BEN not in json.dumps(found)


def test_what_is_unknown_is_absent_and_not_a_number(sinking, database):
    unknown = Dwell(**{**as_dict(dwell("d1", T0)), "sigma_s": float("nan")})
    queue = QueueMinute(
        t_ns=MINUTE_END, zone="promo", length=0, wait_p50_s=None, wait_p90_s=None, abandoned=0
    )
    sinking.write(sinking.maker.of_output(Output(dwells=[unknown], queues=[queue]), {}))
    keys = {row["fieldKey"] for row in ask(database, "SHOW FIELD KEYS")}
    assert not keys & {"sigma_s", "wait_p50_s", "wait_p90_s"}


def _stay(first_s, seconds, seq, zones=("rx-1", "rx-2")):
    """Batches of one second each: a tag near the first receiver, later near the second."""
    for second in range(seconds):
        near = zones[0] if second < seconds // 2 else zones[1]
        rows = [
            (T0 + (first_s + second) * SECOND + tenth * SECOND // 10, receiver, ANNA, level)
            for tenth in range(0, 10, 2)
            for receiver in zones
            for level in (-52.0 if receiver == near else -78.0,)
        ]
        complete_ns = T0 + (first_s + second + 1) * SECOND
        yield readings(seq + second, rows, complete_ns=complete_ns)


def _plate(seconds, taken_s):
    rows = []
    for tenth in range(0, seconds * 10, 2):
        mass_g = 6400.0 - 640.0 * (tenth >= taken_s * 10)
        noise_g = (tenth % 7 - 3) * 0.2
        rows.append((T0 + tenth * SECOND // 10, "plate-1", mass_g + noise_g, None))
    # Everything at once, before any reading: it may not close a tick.
    return sample_batch(1, rows, complete_ns=T0)


PRODUCT = """
[[shelf.product]]
gtin = "04012345678901"
unit_g = 640.0
sensors = ["plate-1"]
"""


def test_from_batches_to_the_fields_that_more_than_one_row_decides(tmp_path, database):
    influx = InfluxSettings(url=f"http://127.0.0.1:{database.port}", database="fanous")
    clock = {"ahead_ns": 0}
    with mosquitto(tmp_path / "broker") as broker:
        alarms = AlarmSettings(agent_silent_s=600)
        settings = settings_for(tmp_path, port=broker.port, influxdb=influx, alarms=alarms)
        text = STORE_TOML.replace("[[tap_point]]", f"{PRODUCT}[[tap_point]]", 1)
        (tmp_path / "store.toml").write_text(text)
        now_ns = lambda: time.time_ns() + clock["ahead_ns"]  # noqa: E731
        with agent(broker.port) as pi, gateway(settings, now_ns=now_ns) as gw:
            pi.send(_plate(120, taken_s=40), "samples")
            pi.send(tap_batch(1, [(T0 + SECOND, "gate-1", ANNA)], complete_ns=T0), "taps")
            batches = [*_stay(0, 120, 1), *_stay(1800, 120, 121)]
            for batch in batches:
                pi.send(batch)
            pi.send(b'{"state":"online","outbox":{"batches":4},"temperature_c":41.5}', "status")
            wait_until(lambda: pi.acked() == len(batches), "everything is acknowledged")
            wait_until(
                lambda: any(topic.endswith("/live") for topic, _ in list(pi.messages)),
                "the agents were looked at once",
            )
            clock["ahead_ns"] = MINUTE
            wait_until(
                lambda: "agent" in {row["name"] for row in ask(database, "SHOW MEASUREMENTS")},
                "the agent's minute is written",
            )
            gw.call(gw.service.drain_and_finish())
            visits = gw.get("/api/v1/visits")["rows"]
    assert 2 == len(visits)
    found = ask(database, "SELECT * FROM visit ORDER BY time")
    assert [(0, None), (1, round(1680 / 86400, 4))] == [
        (row["earlier_visits"], row["days_since_last"]) for row in found
    ]
    assert [row["visit"] for row in visits] == [row["visit"] for row in found]
    picks = ask(database, "SELECT * FROM shelf_event WHERE kind = 'pick'")
    assert [(1, visits[0]["visit"])] == [(row["quantity"], row["visit"]) for row in picks]
    minutes = ask(database, "SELECT * FROM occupancy WHERE zone = 'shoes'")
    assert {(1, 1, "busy"), (0, 0, "empty")} == {
        (row["people"], row["max"], row["state"]) for row in minutes if row["max"] == row["people"]
    }
    (transition,) = ask(database, 'SELECT * FROM "transition"')
    assert ("shoes", "promo", 2) == tuple(
        transition[name] for name in ("from_zone", "to_zone", "count")
    )
    (tapped,) = ask(database, "SELECT * FROM tap")
    assert (1, "entry") == (tapped["count"], tapped["role"])
    # A real minute may end in between: then there are two rows.
    *_, minute = written = ask(database, "SELECT * FROM agent")
    assert (True, 4, 41.5) == (minute["up"], minute["outbox"], minute["temperature_c"])
    assert sum(row["readings_per_s"] for row in written) > 0
    assert {0} == {row["time"] % MINUTE for row in written}
