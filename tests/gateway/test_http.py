import asyncio
import json
import socket

import aiohttp
import pytest

from analytics.rows import Heat, Occupancy, Output, QueueMinute, ReceiverHealth
from gateway.http import HttpServer, bind_socket
from gateway.http_rows import BadQueryError, read_time
from gateway.live import LiveHub, LivePicture
from gateway.metrics import by_label, counter, gauge
from gateway.result_store import ResultStore, Step, Trail
from gateway.settings import HttpSettings
from gateway.showing import store_object
from ingest.config import ConfigError
from tests.gateway.rows import dwell, visit
from tests.gateway.samples import ANNA, SECOND, STORE, T0


class FakeSource:
    missing = ()

    def store_json(self):
        return store_object(STORE)

    def summary(self):
        return {"readings": 5}

    def metrics(self):
        return [
            counter("a_total", "A.", 3),
            gauge("b", "B.", 0.5),
            by_label("c_total", "C.", "reason", {'x"y\n': 1, "a": 2}),
        ]

    def not_ready(self):
        return list(self.missing)


class Rig:
    """A server over a result store, asked through real sockets."""

    def __init__(self, directory, **more):
        self.results = ResultStore(directory / "results.sqlite")
        self.source = FakeSource()
        self.settings = HttpSettings(port=0, **more)
        self.hub = None

    def run(self, ask):
        return asyncio.run(self._run(ask))

    async def _run(self, ask):
        self.hub = LiveHub()
        server = HttpServer(self.settings, self.source, self.results, self.hub)
        bound = bind_socket(self.settings)
        self.port = bound.getsockname()[1]
        await server.start(bound)
        try:
            url = f"http://127.0.0.1:{self.port}"
            async with aiohttp.ClientSession(url) as client:
                return await ask(client)
        finally:
            await server.stop()

    def get(self, path, **more):
        async def ask(client):
            async with client.get(path, **more) as reply:
                return reply.status, reply.headers, await reply.text()

        return self.run(ask)

    def get_json(self, path):
        status, _, text = self.get(path)
        assert 200 == status, text
        return json.loads(text)


@pytest.fixture
def rig(tmp_path):
    made = Rig(tmp_path)
    yield made
    made.results.close()


def _fill(results, n=25):
    output = Output(
        dwells=[dwell(f"d{at:02}", T0 + at // 2 * SECOND) for at in range(n)],
        visits=[visit("v1", T0)],
        queues=[
            QueueMinute(
                t_ns=T0, zone="promo", length=2, wait_p50_s=None, wait_p90_s=4.5, abandoned=0
            )
        ],
        occupancy=[Occupancy(t_ns=T0, layer="main", zone="shoes", people=2)],
    )
    trail = Trail(
        t_ns=[T0, T0],
        tag=[ANNA, "b"],
        zone=[0, 0],
        floor=["0", "0"],
        x_m=[0.2, 0.3],
        y_m=[0.2, 0.4],
    )
    results.save(output, Step(journal_id=1, watermark_ns=T0), trail=trail)


def test_the_page_and_its_files(rig):
    status, headers, text = rig.get("/")
    assert (200, "text/html; charset=utf-8") == (status, headers["Content-Type"])
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert "<!doctype html>" in text.lower()
    status, headers, _ = rig.get("/page/page.js")
    assert (200, "text/javascript; charset=utf-8") == (status, headers["Content-Type"])


@pytest.mark.parametrize(
    "path",
    [
        "/page/../http.py",
        "/page/..%2fhttp.py",
        "/page/%2e%2e%2fsample.toml",
        "/page/none.js",
        "/page/index",
        "/page/.js",
        "/page/page.js%00.html",
        "/api/v1/nothing",
        "/api/v1/store/",
    ],
)
def test_nothing_else_is_served(rig, path):
    import yarl

    status, headers, text = rig.get(yarl.URL(path, encoded=True))
    assert (404, "application/problem+json") == (status, headers["Content-Type"])
    assert 404 == json.loads(text)["status"]


def test_a_wrong_method_is_a_problem(rig):
    async def ask(client):
        async with client.post("/api/v1/summary") as reply:
            return reply.status, reply.content_type

    assert (405, "application/problem+json") == rig.run(ask)


def test_store_and_summary(rig):
    store = rig.get_json("/api/v1/store")
    assert ("demo", "shoes", [1.0, 1.0, 2.4]) == (
        store["id"],
        store["zones"][0]["id"],
        store["receivers"][0]["position_m"],
    )
    assert {"gtin": "04012345678901", "name": "Runner", "unit_g": 640.0} == store["shelves"][0][
        "products"
    ][0]
    assert {"readings": 5} == rig.get_json("/api/v1/summary")


def test_pages_meet_without_gap_or_repetition(rig):
    _fill(rig.results)

    async def ask(client):
        found, path = [], "/api/v1/dwells?limit=7"
        while path:
            async with client.get(path) as reply:
                body = await reply.json()
            found.append([row["dwell"] for row in body["rows"]])
            path = body["next"]
        return found

    pages = rig.run(ask)
    assert [7, 7, 7, 4] == [len(page) for page in pages]
    assert [f"d{at:02}" for at in range(25)] == [name for page in pages for name in page]


def test_lists_are_filtered_by_time_in_either_form(rig):
    _fill(rig.results)
    rows = rig.get_json(f"/api/v1/dwells?from={T0 + 2 * SECOND}&to=2025-11-24T16:00:04Z")["rows"]
    assert ["d04", "d05", "d06", "d07"] == [row["dwell"] for row in rows]
    assert [] == rig.get_json(f"/api/v1/visits?from={T0 + 1}")["rows"]


def test_rows_have_the_columns_of_the_contract(rig):
    _fill(rig.results)
    row = rig.get_json("/api/v1/queues")["rows"][0]
    assert {
        "t_ns": T0,
        "zone": "promo",
        "length": 2,
        "wait_p50_s": None,
        "wait_p90_s": 4.5,
        "abandoned": 0,
    } == row


def test_csv(rig):
    _fill(rig.results)
    status, headers, text = rig.get("/api/v1/queues?format=csv")
    assert (200, "text/csv; charset=utf-8") == (status, headers["Content-Type"])
    assert f"t_ns,zone,length,wait_p50_s,wait_p90_s,abandoned\n{T0},promo,2,,4.5,0\n" == text
    _, headers, _ = rig.get("/api/v1/dwells?format=csv&limit=1")
    assert 'rel="next"' in headers["Link"]


@pytest.mark.parametrize(
    "name",
    [
        *("transitions", "shelves", "shelves?table=stock", "occupancy"),
        *("occupancy_estimates", "receivers"),
    ],
)
def test_other_lists_answer(rig, name):
    _fill(rig.results)
    assert {"rows", "next"} <= set(rig.get_json(f"/api/v1/{name}"))


def test_the_heat_map_counts_ticks_per_cell(rig):
    _fill(rig.results)
    body = rig.get_json("/api/v1/heatmap?cell_m=1")
    assert [{"x_m": 0.5, "y_m": 0.5, "ticks": 2}] == body["rows"]


QUARTER = 900 * SECOND


def _heat(results, *rows):
    heat = [
        Heat(t_ns=T0 + at * QUARTER, floor=floor, x_m=x_m, y_m=y_m, person_s=person_s)
        for at, floor, x_m, y_m, person_s in rows
    ]
    results.save(Output(heat=heat), Step(journal_id=2, watermark_ns=T0))


def test_the_heat_map_is_made_of_the_beliefs_where_they_are_stored(rig):
    _fill(rig.results)
    _heat(
        rig.results,
        *((0, "0", 0.75, 0.5, 3.0), (1, "0", 0.75, 0.5, 4.1), (1, "0", 1.75, 0.5, 0.1)),
        *((1, "up", 0.75, 0.5, 7.0), (9, "0", 0.75, 0.5, 9.0)),
    )
    body = rig.get_json(f"/api/v1/heatmap?from={T0 - 1}&to={T0 + QUARTER}")
    assert [
        {"x_m": 0.75, "y_m": 0.5, "ticks": 7.1},
        {"x_m": 1.75, "y_m": 0.5, "ticks": 0.1},
    ] == body["rows"]
    assert {"cell_m", "from_ns", "to_ns", "rows", "next"} == set(body)
    assert (1.0, T0 - QUARTER, T0 + QUARTER) == (body["cell_m"], body["from_ns"], body["to_ns"])
    body = rig.get_json(f"/api/v1/heatmap?from={T0}&to={T0 + QUARTER}&floor=up")
    assert [{"x_m": 0.75, "y_m": 0.5, "ticks": 7.0}] == body["rows"]


def test_the_heat_map_is_the_last_hour_unless_asked_and_may_be_coarser(rig):
    rows = ((at, "0", 0.5 + at, 0.5, 1.0) for at in range(8))
    _heat(rig.results, *rows)
    found = rig.get_json("/api/v1/heatmap")["rows"]
    assert [4.5, 5.5, 6.5, 7.5] == [row["x_m"] for row in found]
    body = rig.get_json("/api/v1/heatmap?from=0&cell_m=4")
    assert [(2.0, 4.0), (6.0, 4.0)] == [(row["x_m"], row["ticks"]) for row in body["rows"]]
    assert 1.0 == rig.get_json("/api/v1/heatmap?cell_m=0.2")["cell_m"]


def test_live_positions_stand_in_for_a_period_without_beliefs(rig):
    _fill(rig.results)
    _heat(rig.results, (-99, "0", 0.5, 0.5, 3.0))
    body = rig.get_json("/api/v1/heatmap")
    assert (0.5, [{"x_m": 0.25, "y_m": 0.25, "ticks": 2}]) == (body["cell_m"], body["rows"])


def test_live_positions_of_other_floors_are_not_added(rig):
    trail = Trail(
        t_ns=[T0, T0, T0], tag=["a", "b", "c"], zone=[0, 0, 0], floor=["0", "up", "up"],
        x_m=[0.2, 0.2, 0.2], y_m=[0.2, 0.2, 0.2],
    )  # fmt: skip
    rig.results.save(Output(), Step(journal_id=1, watermark_ns=T0), trail=trail)
    ticks = [
        [row["ticks"] for row in rig.get_json(f"/api/v1/heatmap?floor={floor}")["rows"]]
        for floor in ("0", "up", "", "none")
    ]
    assert [[1], [2], [1], []] == ticks


def test_receivers_are_told_with_their_newest_state_last(rig):
    rows = [
        ReceiverHealth(receiver="rx-1", state=state, since_ns=T0 + at, offset_db=db, reason="r")
        for at, (state, db) in enumerate((("moved", 6.0), ("ok", None)))
    ]
    rig.results.save(Output(receiver_health=rows), Step(journal_id=2, watermark_ns=T0))
    found = rig.get_json("/api/v1/receivers")["rows"]
    assert [("rx-1", "moved", T0, 6.0), ("rx-1", "ok", T0 + 1, None)] == [
        (row["receiver"], row["state"], row["since_ns"], row["offset_db"]) for row in found
    ]


@pytest.mark.parametrize(
    "query",
    [
        "dwells?from=yesterday",
        "dwells?limit=0",
        "dwells?limit=99999",
        "dwells?limit=x",
        "dwells?format=xml",
        "dwells?after=!!!",
        "dwells?after=WzFd",
        "dwells?after=WzksOTk5OTk5OTk5OTk5OTk5OTk5OTk5OTld",
        "shelves?table=visits",
        "heatmap?cell_m=nan",
        "heatmap?cell_m=0",
    ],
)
def test_a_wrong_parameter_is_a_problem(rig, query):
    status, headers, text = rig.get(f"/api/v1/{query}")
    assert (400, "application/problem+json") == (status, headers["Content-Type"])
    assert "expected" in json.loads(text)["detail"]


@pytest.mark.parametrize(
    ("text", "t_ns"),
    [
        ("0", 0),
        (str(T0), T0),
        ("99999999999999999999"[:19], 2**63 - 1),
        ("2025-11-24T16:00:00Z", T0),
        ("2025-11-24T17:00:00+01:00", T0),
        ("2025-11-24T17:00:00 01:00", T0),
        ("2025-11-24T16:00:00.123456789Z", T0 + 123_456_789),
        ("2025-11-24", T0 - 16 * 3600 * SECOND),
        (None, 7),
    ],
)
def test_times(text, t_ns):
    assert t_ns == read_time(text, "from", 7)


@pytest.mark.parametrize("text", ["x", "2025-13-01", "9" * 30, "1e9", "²"])
def test_wrong_times(text):
    with pytest.raises(BadQueryError):
        read_time(text, "from", 0)


def test_metrics_are_prometheus_text(rig):
    status, headers, text = rig.get("/metrics")
    assert (200, "text/plain; version=0.0.4; charset=utf-8") == (status, headers["Content-Type"])
    assert "# TYPE fanous_a_total counter\nfanous_a_total 3\n" in text
    assert "fanous_b 0.5\n" in text
    assert 'fanous_c_total{reason="x\\"y\\n"} 1\n' in text


def test_health_and_readiness(rig):
    assert 200 == rig.get("/healthz")[0]
    assert 200 == rig.get("/readyz")[0]
    rig.source.missing = ("the broker is not connected",)
    status, _, text = rig.get("/readyz")
    assert (503, "the broker is not connected") == (status, json.loads(text)["detail"])


def test_on_loopback_only_names_of_this_machine_are_answered(rig):
    assert 403 == rig.get("/api/v1/summary", headers={"Host": "evil.example"})[0]
    assert 200 == rig.get("/api/v1/summary", headers={"Host": "localhost:99"})[0]
    assert 200 == rig.get("/api/v1/summary", headers={"Host": "[::1]:99"})[0]


@pytest.fixture
def open_rig(tmp_path):
    (tmp_path / "token").write_text("s3cret")
    made = Rig(tmp_path, bind="0.0.0.0", token_file=str(tmp_path / "token"))
    yield made
    made.results.close()


def test_elsewhere_the_token_is_needed(open_rig):
    assert 401 == open_rig.get("/api/v1/summary")[0]
    assert 401 == open_rig.get("/page/page.js")[0]
    assert 401 == open_rig.get("/metrics")[0]
    wrong = {"Authorization": "Bearer s3cre"}
    assert 401 == open_rig.get("/api/v1/summary", headers=wrong)[0]
    right = {"Authorization": "Bearer s3cret"}
    assert 200 == open_rig.get("/api/v1/summary", headers=right)[0]
    assert 200 == open_rig.get("/healthz")[0]


def test_a_browser_signs_in_once(open_rig):
    async def ask(client):
        seen = []
        async with client.get("/") as reply:
            seen.append((reply.status, "password" in await reply.text()))
        async with client.post("/login", data={"token": "no"}) as reply:
            seen.append(reply.status)
        async with client.post("/login", data={"token": "s3cret"}, allow_redirects=False) as reply:
            cookie = reply.cookies["fanous_session"]
            seen.append((reply.status, cookie["httponly"], cookie["samesite"]))
        session = {"Cookie": f"fanous_session={cookie.value}"}
        async with client.get("/api/v1/summary", headers=session) as reply:
            seen.append(reply.status)
        return seen

    assert [(401, True), 401, (303, True, "Strict"), 200] == open_rig.run(ask)


async def _next_message(reply):
    found = {}
    async for raw in reply.content:
        line = raw.decode().rstrip("\n")
        if not line and "data" in found:
            return int(found["id"]), json.loads(found["data"])
        name, _, value = line.partition(": ")
        found[name] = value
    return None


def test_the_stream_starts_with_the_newest_and_resumes_after_what_was_seen(rig):
    async def ask(client):
        for at in range(5):
            rig.hub.send({"n": at})
        async with client.get("/api/v1/live") as reply:
            first = await _next_message(reply)
            rig.hub.send({"n": 5})
            second = await _next_message(reply)
        async with client.get("/api/v1/live", headers={"Last-Event-ID": "3"}) as reply:
            missed = [(await _next_message(reply))[0] for _ in range(3)]
        return first, second, missed, reply.content_type

    expected = ((5, {"n": 4}), (6, {"n": 5}), [4, 5, 6], "text/event-stream")
    assert expected == rig.run(ask)


def test_open_streams_end_with_the_server(rig):
    async def ask(client):
        reply = await client.get("/api/v1/live")
        rig.hub.close()
        return await asyncio.wait_for(reply.content.read(), 5)

    assert b"retry: 1000\n\n" == rig.run(ask)


def test_a_slow_watcher_loses_its_oldest_messages():
    async def run():
        hub = LiveHub()
        queue = hub.join(None)
        for at in range(20):
            hub.send({"n": at})
        return hub.messages_dropped, queue.qsize(), queue.get_nowait()

    dropped, size, oldest = asyncio.run(run())
    assert (12, 8) == (dropped, size)
    assert b'id: 13\ndata: {"n":12}\n\n' == oldest


def test_watchers_are_bounded():
    async def run():
        hub = LiveHub()
        return [hub.join(None) is None for _ in range(257)]

    assert [False] * 256 + [True] == asyncio.run(run())


def test_a_port_in_use_is_refused_in_a_sentence():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port}: expected a free port"):
            bind_socket(HttpSettings(port=port))


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(ConfigError):
        bind_socket(HttpSettings(bind="192.0.2.1", port=0))


def test_an_empty_picture_names_all_zones():
    message = LivePicture(STORE).message([], [])
    assert {"shoes": 0, "promo": 0} == message["zones"]
    assert [] == message["tags"]
