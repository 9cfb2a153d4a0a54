"""From batches on a real broker to points read back from a real influxd by InfluxQL."""

import json
import urllib.parse
import urllib.request

import pytest

from analytics.rows import Output
from gateway.influx import InfluxSink
from gateway.result_store import ResultStore, Step
from gateway.settings import InfluxSettings
from tests.gateway.samples import ANNA, SECOND, T0, settings_for, taps
from tests.system.gateway_rig import agent, gateway, walk
from tests.system.influx_relay import relay
from tests.system.servers import influxd, mosquitto, wait_until

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("servers")]


@pytest.fixture
def database(tmp_path):
    with influxd(tmp_path / "influxd") as server:
        yield server


@pytest.fixture
def broker(tmp_path):
    with mosquitto(tmp_path / "broker") as server:
        yield server


def _ask(server, query, method="GET"):
    parameters = urllib.parse.urlencode({"db": "fanous", "q": query, "epoch": "ns"})
    url = f"http://127.0.0.1:{server.port}/query"
    data = parameters.encode() if method == "POST" else None
    with urllib.request.urlopen(url if data else f"{url}?{parameters}", data=data) as reply:
        (result,) = json.loads(reply.read())["results"]
    return [
        dict(zip(series["columns"], row, strict=True)) | series.get("tags", {})
        for series in result.get("series", [])
        for row in series["values"]
    ]


def _run(tmp_path, broker, influx):
    """Two shoppers, two minutes; returns the gateway's counters and its visits."""
    settings = settings_for(tmp_path, port=broker.port, influxdb=influx)
    with agent(broker.port) as pi, gateway(settings) as gw:
        pi.send(taps(1, [(T0 + SECOND, "gate-1", ANNA)]), "taps")
        for batch in walk(180):
            pi.send(batch)
        wait_until(lambda: pi.acked() == 180, "everything is acknowledged")
        gw.call(gw.service.drain_and_finish())
        return gw.service.counters(), gw.get("/api/v1/dwells")["rows"], gw.service.influx.server


def _check(server, counts, dwells):
    assert (0, 0) == (counts["points_queued"], counts["points_refused"])
    found = _ask(server, "SELECT * FROM dwell")
    assert {row["dwell"] for row in dwells} != set()
    assert len(dwells) == len(found)
    assert sorted(row["dwell_s"] for row in dwells) == sorted(row["dwell_s"] for row in found)
    assert {"aisle", "promo"} == {row["zone_kind"] for row in found}
    assert "visitor" not in found[0]
    assert 2 == len(_ask(server, "SELECT visit, path FROM visit"))
    people = _ask(server, "SELECT max(people) FROM occupancy GROUP BY zone")
    assert 2 == max(row["max"] for row in people)
    (tapped,) = _ask(server, "SELECT * FROM tap")
    assert ("entry", "gate-1", 1) == (tapped["role"], tapped["tap_point"], tapped["count"])
    keys = {row["tagKey"] for row in _ask(server, "SHOW TAG KEYS")}
    tags = {"store", "zone", "zone_kind", "purpose", "tap_point", "role", "agent"}
    assert keys <= tags | {"from_zone", "to_zone"}


def test_1x_from_batches_to_points(tmp_path, broker, database):
    influx = InfluxSettings(url=f"http://127.0.0.1:{database.port}", database="fanous")
    counts, dwells, server = _run(tmp_path, broker, influx)
    assert server.startswith("InfluxDB 1.6.7")
    _check(database, counts, dwells)


def test_2x_through_influxdb_client(tmp_path, broker, database):
    _ask(database, "CREATE DATABASE fanous", "POST")
    (tmp_path / "token").write_text("t0ken\n")
    with relay(database.port) as server:
        server.answers += [503, 429]
        influx = InfluxSettings(
            url=server.url, org="shop", bucket="fanous", token_file=str(tmp_path / "token")
        )
        counts, dwells, name = _run(tmp_path, broker, influx)
        assert "InfluxDB 2.7.12, /api/v2/write" == name
        assert {("fanous", "shop", "ns")} == {
            (query["bucket"], query["org"], query["precision"]) for _, query in server.writes
        }
    _check(database, counts, dwells)


def test_a_bad_line_is_set_aside_and_a_rewrite_changes_nothing(tmp_path, database):
    results = ResultStore(tmp_path / "results.sqlite")
    settings = InfluxSettings(url=f"http://127.0.0.1:{database.port}", database="fanous")
    sink = InfluxSink(settings, results)
    lines = [f"queue,store=demo,zone=z{at} length={at}i {T0}".encode() for at in range(50)]
    for _ in range(2):
        results.save(Output(), Step(journal_id=1, watermark_ns=None), lines=lines)
        sink.flush_once()
    conflict = f"queue,store=demo,zone=z1 length=1.5 {T0 + 1}".encode()
    results.save(
        Output(), Step(journal_id=1, watermark_ns=None), lines=[*lines[:9], conflict, b"not a line"]
    )
    sink.flush_once()
    assert [50] == [row["count"] for row in _ask(database, "SELECT count(length) FROM queue")]
    counts = results.counts()
    assert (109, 2) == (counts["points_written"], counts["points_refused"])
    results.close()


def test_a_point_that_is_no_longer_true_is_deleted_and_no_other(tmp_path, database):
    results = ResultStore(tmp_path / "results.sqlite")
    settings = InfluxSettings(url=f"http://127.0.0.1:{database.port}", database="fanous")
    sink = InfluxSink(settings, results)
    lines = [
        f"dwell,store=demo,zone={zone} dwell_s={at} {T0 + at}".encode()
        for zone in ("a", "it's")
        for at in (1, 2)
    ]
    results.save(Output(), Step(journal_id=1, watermark_ns=None), lines=lines)
    erasures = [
        {
            "measurement": "dwell",
            "tags": {"store": "demo", "zone": "it's"},
            "t_ns": t_ns,
            "void": "",
        }
        for t_ns in (T0 + 1, *range(T0 + 10, T0 + 260))  # many at once, most are not there
    ]
    with results.transaction() as db:
        db.execute(
            "INSERT INTO outgoing_lines (line_count, body, is_erasure) VALUES (?, ?, 1)",
            (len(erasures), b"\n".join(json.dumps(erasure).encode() for erasure in erasures)),
        )
    for _ in range(2):
        assert sink.flush_once() == 0.0
    found = _ask(database, 'SELECT dwell_s, "zone" FROM dwell')
    assert [("a", 1), ("a", 2), ("it's", 2)] == sorted((r["zone"], r["dwell_s"]) for r in found)
    results.close()


def test_a_database_that_is_away_is_caught_up_with(tmp_path, broker, database):
    influx = InfluxSettings(url=f"http://127.0.0.1:{database.port}", database="fanous")
    settings = settings_for(tmp_path, port=broker.port, influxdb=influx)
    database.stop()
    with agent(broker.port) as pi:
        with gateway(settings) as gw:
            pi.send(taps(1, [(T0 + SECOND, "gate-1", ANNA)]), "taps")
            for batch in walk(180):
                pi.send(batch)
            wait_until(lambda: pi.acked() == 180, "everything is acknowledged")
            wait_until(lambda: gw.service.counters()["points_queued"] > 0, "points wait")
        database.start()
        with gateway(settings) as gw:
            gw.call(gw.service.drain_and_finish())
            counts, dwells = gw.service.counters(), gw.get("/api/v1/dwells")["rows"]
    _check(database, counts, dwells)
