"""The page, the lists, metrics and health over HTTP."""

import json

import pytest

from analytics.rows import Output, ReceiverHealth
from gateway.http_rows import BadQueryError, read_time
from gateway.result_store import Step
from tests.gateway.http_rig import Rig, fill
from tests.gateway.samples import SECOND, T0


@pytest.fixture
def rig(tmp_path):
    made = Rig(tmp_path)
    yield made
    made.results.close()


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
    fill(rig.results)

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
    fill(rig.results)
    rows = rig.get_json(f"/api/v1/dwells?from={T0 + 2 * SECOND}&to=2025-11-24T16:00:04Z")["rows"]
    assert ["d04", "d05", "d06", "d07"] == [row["dwell"] for row in rows]
    assert [] == rig.get_json(f"/api/v1/visits?from={T0 + 1}")["rows"]


def test_rows_have_the_columns_of_the_contract(rig):
    fill(rig.results)
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
    fill(rig.results)
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
    fill(rig.results)
    assert {"rows", "next"} <= set(rig.get_json(f"/api/v1/{name}"))


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
