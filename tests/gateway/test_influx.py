import gzip
import http.server
import threading
import urllib.parse
from collections import deque
from dataclasses import dataclass, field

import msgspec
import pytest

from analytics.rows import Output
from gateway.influx import InfluxSink
from gateway.result_store import ResultStore, Step
from gateway.settings import InfluxSettings


@dataclass
class Script:
    """What the fake server answers to writes, in order; then 204."""

    version: str = "1.6.7"
    answers: deque = field(default_factory=deque)
    requests: list = field(default_factory=list)
    stored: list = field(default_factory=list)
    bad: bytes = b"\0"


class FakeInflux(http.server.BaseHTTPRequestHandler):
    """A server that does what its script says; the real one is in tests/system."""

    def do_GET(self):
        self.send_response(204)
        self.send_header("X-Influxdb-Version", self.server.script.version)
        self.end_headers()

    def do_POST(self):
        script = self.server.script
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        script.requests.append((self.path, self.headers, body))
        if self.path.startswith("/query"):
            self._answer(200, {}, b'{"results":[{}]}')
            return
        status, headers = script.answers.popleft() if script.answers else (204, {})
        if status == 204 and script.bad in body:
            status = 400
        if status == 204:
            script.stored += body.split(b"\n")
        self._answer(status, headers, b'{"error":"field type conflict"}' if status == 400 else b"")

    def _answer(self, status, headers, body):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), FakeInflux)
    made.script = Script()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture
def results(tmp_path):
    made = ResultStore(tmp_path / "results.sqlite")
    yield made
    made.close()


@pytest.fixture
def sink(server, results, tmp_path):
    (tmp_path / "token").write_text("t0ken\n")
    (tmp_path / "password").write_text("s3cret\n")
    settings = InfluxSettings(
        url=f"http://127.0.0.1:{server.server_address[1]}",
        org="shop",
        bucket="fanous",
        database="fanous",
        username="anna",
        token_file=str(tmp_path / "token"),
        password_file=str(tmp_path / "password"),
    )
    made = InfluxSink(settings, results)
    yield made
    made.close()


def _queue(results, *lines):
    results.save(Output(), Step(journal_id=1, watermark_ns=None), lines=lines)


def _counts(results):
    counts = results.counts()
    return counts.get("points_written", 0), counts.get("points_refused", 0), counts["lines_queued"]


@pytest.mark.parametrize(
    ("version", "path", "header"),
    [
        ("1.6.7~rc0", "/write?db=fanous&precision=ns", "Basic YW5uYTpzM2NyZXQ="),
        ("v2.7.12", "/api/v2/write?org=shop&bucket=fanous&precision=ns", "Token t0ken"),
        ("3.10.1", "/api/v2/write?org=shop&bucket=fanous&precision=ns", "Token t0ken"),
    ],
)
def test_the_server_is_asked_what_it_is(server, results, sink, version, path, header):
    server.script.version = version
    lines = [b"queue length=%di %d" % (at, at) for at in range(200)]
    _queue(results, *lines)
    assert 0.0 == sink.flush_once()
    assert lines == server.script.stored
    assert path == server.script.requests[-1][0]
    assert header == server.script.requests[-1][1]["Authorization"]
    assert "gzip" == server.script.requests[-1][1]["Content-Encoding"]
    assert (200, 0, 0) == _counts(results)
    assert 0.0 < sink.flush_once()


@pytest.mark.parametrize("version", ["1.8.10", "2.7.12"])
def test_a_bad_line_costs_only_itself(server, results, sink, version):
    server.script.version = version
    server.script.bad = b"bad"
    lines = [b"line %d" % at for at in range(64)]
    lines[40] = b"bad line"
    _queue(results, *lines)
    sink.flush_once()
    assert lines[:40] + lines[41:] == server.script.stored
    assert 13 == sink.requests  # 1 + 2 log2(64)
    assert (63, 1, 0) == _counts(results)
    (refused,) = results.query("SELECT line, reason FROM refused_lines")
    assert (b"bad line", "HTTP 400: field type conflict") == refused


@pytest.mark.parametrize("version", ["1.8.10", "2.7.12"])
@pytest.mark.parametrize("status", [429, 500, 503, 401])
def test_what_the_server_does_not_take_now_waits(server, results, sink, version, status):
    server.script.version = version
    server.script.answers += [(status, {"Retry-After": "7"}), (status, {})]
    _queue(results, b"a")
    assert 7.0 == sink.flush_once()
    assert (0, 0, 1) == _counts(results)
    assert 2.0 == sink.flush_once()
    assert 0.0 == sink.flush_once()
    assert [b"a"] == server.script.stored
    assert (1, 0, 0) == _counts(results)


def test_back_off_doubles_to_a_bound(results, tmp_path):
    settings = InfluxSettings(url="http://127.0.0.1:1", database="d", timeout_s=1.0)
    sink = InfluxSink(settings, results)
    _queue(results, b"a")
    assert [1, 2, 4, 8, 16, 32, 60, 60] == [sink.flush_once() for _ in range(8)]


def test_keys_that_the_server_does_not_fit_are_told(server, results, caplog):
    settings = InfluxSettings(
        url=f"http://127.0.0.1:{server.server_address[1]}", bucket="b", org="o"
    )
    _queue(results, b"a")
    InfluxSink(settings, results).flush_once()
    assert "expected [influxdb] database" in caplog.text
    server.script.version = "2.7.12"
    caplog.clear()
    InfluxSink(settings, results).flush_once()
    assert "token_file" in caplog.text


def test_a_refusal_is_kept_without_the_lines_the_server_quotes(server, results, sink):
    server.script.answers.append((400, {}))
    _queue(results, b"only")
    sink.flush_once()
    ((reason,),) = results.query("SELECT reason FROM refused_lines")
    assert "HTTP 400: field type conflict" == reason


def _queue_erasures(results, *t_ns):
    erasures = [
        {
            "measurement": "dwell",
            "tags": {"store": "demo", "zone": "it's", "zone_kind": ""},
            "t_ns": at,
            "void": f"dwell,store=demo confidence=0.0 {at}",
        }
        for at in t_ns
    ]
    with results.transaction() as db:
        db.execute(
            "INSERT INTO outgoing_lines (line_count, body, is_erasure) VALUES (?, ?, 1)",
            (len(erasures), b"\n".join(map(msgspec.json.encode, erasures))),
        )


def test_points_are_deleted_by_statements_on_1x(server, results, sink):
    _queue(results, b"before length=1i 1")
    _queue_erasures(results, 5, 6)
    _queue(results, b"after length=1i 1")
    for _ in range(3):
        assert 0.0 == sink.flush_once()
    assert [b"before length=1i 1", b"after length=1i 1"] == server.script.stored
    query = urllib.parse.parse_qs(server.script.requests[-2][2].decode())["q"][0]
    where = """ AND "store" = 'demo' AND "zone" = 'it\\'s'"""
    expected = ";".join(f'DELETE FROM "dwell" WHERE time = {at}{where}' for at in (5, 6))
    assert expected == query
    assert (2, 0, 0) == _counts(results)


def test_points_are_deleted_by_predicates_on_2x(server, results, sink):
    server.script.version = "2.7.12"
    _queue_erasures(results, 5)
    assert 0.0 == sink.flush_once()
    path, headers, body = server.script.requests[-1]
    assert "/api/v2/delete?org=shop&bucket=fanous" == path
    assert "Token t0ken" == headers["Authorization"]
    assert {
        "start": "1970-01-01T00:00:00.000000005Z",
        "stop": "1970-01-01T00:00:00.000000006Z",
        "predicate": '_measurement="dwell" AND store="demo" AND zone="it\'s"',
    } == msgspec.json.decode(body)


def test_points_are_voided_where_the_server_cannot_delete(server, results, sink):
    server.script.version = "3.2.0"
    server.script.answers.append((404, {}))
    _queue_erasures(results, 5, 6)
    assert 0.0 == sink.flush_once()
    expected = [f"dwell,store=demo confidence=0.0 {at}".encode() for at in (5, 6)]
    assert expected == server.script.stored
    assert (0, 0, 0) == _counts(results)


def test_nothing_is_told_that_a_power_cut_could_take_back(server, results, sink, monkeypatch):
    told = []
    monkeypatch.setattr("gateway.influx.sync_log", lambda path: told.append(len(_bodies(server))))
    _queue(results, b"queue length=1i 1")
    assert 0.0 == sink.flush_once()
    assert [0] == told, "the log was synced, and nothing was written by then"
    assert 1 == len(_bodies(server))


def test_a_disk_that_fails_to_sync_tells_nothing_and_is_tried_again(
    server, results, sink, monkeypatch
):
    def fails(path):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr("gateway.influx.sync_log", fails)
        _queue(results, b"queue length=1i 1")
        assert sink.flush_once() > 0.0
    assert [] == _bodies(server)
    assert 0.0 == sink.flush_once()
    assert [b"queue length=1i 1"] == server.script.stored


def _bodies(server):
    return [body for path, _, body in server.script.requests if "/write" in path]
