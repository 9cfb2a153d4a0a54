"""Contract section 8, as a program outside sees it: lists, paging, problems, stream, token."""

import csv
import http.cookies
import io
import itertools
import json
import os
import random
import subprocess
import sys
import urllib.parse
import urllib.request
from datetime import UTC, datetime

import pytest

from tests.system.outside import ANNA, BEN, SECOND, T0, batch, ble, outside, plate, tap
from tests.system.servers import free_port, wait_until

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("servers")]

VISITS, PAUSE_S, STAY_S = 4, 1000, 80
# Contract section 3, to the letter.
COLUMNS = {
    "dwells": "dwell, visit, tag, layer, zone, start_ns, end_ns, dwell_s, sigma_s, confidence, "
    "readings",
    "visits": "visit, tag, start_ns, end_ns, visit_s, zones, path, path_length_m, directness, "
    "hesitations, taps, shelf_s, picks, returns, purpose, purpose_p",
    "transitions": "layer, from_zone, to_zone, count, median_s, p90_s",
    "shelves": "event, t_ns, shelf, sensor, gtin, kind, status, quantity, delta_g, confidence, "
    "tag, tag_p",
    "shelves?table=stock": "t_ns, shelf, gtin, quantity, sigma, mass_g, state",
    "shelves?table=health": "sensor, state, since_ns, reason",
    "occupancy": "t_ns, layer, zone, people",
    "queues": "t_ns, zone, length, wait_p50_s, wait_p90_s, abandoned",
}
LISTS = ["dwells", "visits", "transitions", "shelves", "queues"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Four visits of two people, a quarter of an hour apart, with two picks by nobody."""
    with outside(tmp_path_factory.mktemp("shop")) as made:
        seq = itertools.count(1)
        for visit in range(VISITS):
            begin_ns = T0 + visit * PAUSE_S * SECOND
            for second in range(0, STAY_S, 10):
                near = "rx-1" if second < STAY_S / 2 else "rx-2"
                columns = ble(begin_ns + second * SECOND, 10, tags=(ANNA, BEN), near=near)
                made.publish("readings", batch("ble", next(seq), columns))
            if visit:
                continue
            made.publish("taps", batch("tap", 1, tap(T0 + STAY_S * SECOND)))
            taken = plate(T0 + 100 * SECOND, 100)
            taken["mass_g"] = [
                6400.0 - 640.0 * (at >= 300) - 640.0 * (at >= 600) for at in range(1000)
            ]
            made.publish("samples", batch("sample", 1, taken))
        end = ble(T0 + VISITS * PAUSE_S * SECOND + 3600 * SECOND, 5, tags=("p_aaaaaaaaaaaaaaaa",))
        made.publish("readings", batch("ble", next(seq), end))
        wait_until(lambda: made.summary()["visits"] == 2 * VISITS, "all visits have ended")
        yield made


def rows(shop, name, **query):
    words = urllib.parse.urlencode(query)
    body = shop.get(f"/api/v1/{name}{'&' if '?' in name else '?'}{words}")
    assert {"rows", "next"} == set(body)
    return body["rows"], body["next"]


@pytest.mark.parametrize("name", COLUMNS)
def test_lists_have_the_columns_of_section_3(shop, name):
    found, following = rows(shop, name)
    assert following is None
    if name != "queues":  # there is no queue in this store
        assert found
    for row in found:
        assert COLUMNS[name].split(", ") == list(row)


def test_a_person_is_a_pseudonym_and_an_empty_cell_is_null(shop):
    assert {ANNA, BEN} == {row["tag"] for row in rows(shop, "visits")[0]}
    picks = [row for row in rows(shop, "shelves")[0] if row["kind"] == "pick"]
    assert 2 == len(picks)
    assert {(None, None, "final")} == {(row["tag"], row["tag_p"], row["status"]) for row in picks}
    (row, *_) = [
        each
        for each in csv.DictReader(io.StringIO(text(shop, "shelves?format=csv")))
        if each["kind"] == "pick"
    ]
    assert ("", "") == (row["tag"], row["tag_p"])


def text(shop, path):
    status, headers, body = shop.ask(f"/api/v1/{path}")
    assert (200, "text/csv; charset=utf-8") == (status, headers["Content-Type"])
    return body.decode()


@pytest.mark.parametrize("name", LISTS)
def test_csv_and_json_say_the_same(shop, name):
    found, _ = rows(shop, name)
    lines = list(csv.reader(io.StringIO(text(shop, f"{name}?format=csv"))))
    assert COLUMNS[name].split(", ") == lines[0]
    shown = [["" if cell is None else str(cell) for cell in row.values()] for row in found]
    assert shown == lines[1:]


@pytest.mark.parametrize("name", [*LISTS, "occupancy", "shelves?table=stock"])
@pytest.mark.parametrize("limit", [1, 3])
def test_pages_to_the_end_are_the_whole(shop, name, limit):
    whole, _ = rows(shop, name)
    path = f"/api/v1/{name}{'&' if '?' in name else '?'}limit={limit}&from={T0}"
    base = f"http://127.0.0.1:{shop.port}{path}"
    found = []
    while path:
        with urllib.request.urlopen(urllib.parse.urljoin(base, path), timeout=10) as reply:
            page = json.loads(reply.read())
        assert len(page["rows"]) <= limit
        assert page["rows"] or page["next"] is None
        found += page["rows"]
        path = page["next"]
    assert whole == found


def test_pages_of_csv_are_linked(shop):
    found, path = [], "/api/v1/dwells?format=csv&limit=5"
    while path:
        _, headers, body = shop.ask(path)
        found += list(csv.reader(io.StringIO(body.decode())))[1:]
        path = headers.get("Link", "").partition(">")[0].removeprefix("<")
    assert len(rows(shop, "dwells")[0]) == len(found)


def rfc3339(t_ns, form):
    moment = datetime.fromtimestamp(t_ns // SECOND, UTC).isoformat()
    return {
        "Z": moment.replace("+00:00", "Z"),
        "z": moment.replace("+00:00", "z").replace("T", "t"),
        "offset": moment,
        "fraction": moment.replace("+00:00", ".000Z"),
    }[form]


@pytest.mark.parametrize("form", ["ns", "Z", "z", "offset", "fraction"])
def test_lists_are_filtered_by_start_or_t_ns(shop, form):
    begin_ns, end_ns = T0 + PAUSE_S * SECOND, T0 + 2 * PAUSE_S * SECOND
    given = {
        name: t_ns if form == "ns" else rfc3339(t_ns, form)
        for name, t_ns in (("from", begin_ns), ("to", end_ns))
    }
    for name, column in (("visits", "start_ns"), ("dwells", "start_ns"), ("occupancy", "t_ns")):
        whole, _ = rows(shop, name)
        kept = [row for row in whole if begin_ns <= row[column] < end_ns]
        assert kept
        assert kept == rows(shop, name, **given)[0]
    assert 2 == rows(shop, "transitions", **given)[0][0]["count"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/nothing", 404),
        ("/nothing", 404),
        ("/page/nothing.js", 404),
        ("/api/v1/dwells?from=yesterday", 400),
        ("/api/v1/visits?to=2025-13-01T00:00:00Z", 400),
        ("/api/v1/queues?from=1.5", 400),
        ("/api/v1/dwells?limit=0", 400),
        ("/api/v1/dwells?limit=-1", 400),
        ("/api/v1/transitions?limit=many", 400),
        ("/api/v1/shelves?limit=1000000", 400),
        ("/api/v1/dwells?after=nonsense", 400),
        ("/api/v1/dwells?format=xml", 400),
        ("/api/v1/shelves?table=visits", 400),
        ("/api/v1/heatmap?cell_m=0", 400),
    ],
)
def test_a_wrong_question_is_a_problem(shop, path, status):
    found, headers, body = shop.ask(path)
    assert (status, "application/problem+json") == (found, headers["Content-Type"])
    problem = json.loads(body)
    assert {"type", "title", "status", "detail"} == set(problem)
    assert status == problem["status"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_wrong_method_is_a_problem_that_names_the_right_one(shop, method):
    status, headers, body = shop.ask("/api/v1/visits", method)
    assert (405, "application/problem+json") == (status, headers["Content-Type"])
    assert "GET" in headers["Allow"]
    assert 405 == json.loads(body)["status"]


@pytest.mark.parametrize("path", ["dwells", "transitions", "heatmap"])
@pytest.mark.parametrize("time", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "9" * 19])
def test_the_ends_of_time_are_times(shop, path, time):
    for name in ("from", "to"):
        assert 200 == shop.ask(f"/api/v1/{path}?{name}={time}")[0]


def test_random_questions_are_answered_or_are_problems(shop):
    """A fixed seed; whatever is wrong is said to be so, and nothing breaks."""
    dice = random.Random(8)
    names = ("from", "to", "limit", "after", "format", "table", "cell_m", "x", "%00", "")
    values = (
        *("", "0", "-1", "9" * 25, "nan", "inf", "1e9", "2025-11-24", "2025-11-24T16:00:00Z"),
        *("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999-23:59", "%00", "%ff", "%F0%9F"),
        *("%ed%a0%80", "'", "%22", "--", "a" * 300, "[]", "{}", "json", "csv", "stock", "health"),
        *("null", "+", "%2B", "T", "2025-W10", "1764000000000000000", "WzEsMl0", "bnVsbA", "W10"),
        *("Wy05OTk5OTk5OTk5OTk5OTk5OTk5OTk5OSwiYSJd", "WyJcdWQ4MDAiLCJhIl0", "WzFlMzAsImEiXQ"),
    )
    paths = ("dwells", "visits", "transitions", "shelves", "queues", "occupancy", "heatmap")
    for _ in range(400):
        words = "&".join(
            f"{dice.choice(names)}={dice.choice(values)}" for _ in range(dice.randrange(5))
        )
        path = f"/api/v1/{dice.choice(paths)}?{words}"
        status, headers, body = shop.ask(path)
        assert status in {200, 400}, path
        if status == 400:
            assert "application/problem+json" == headers["Content-Type"], path
            assert json.loads(body)["detail"]
    assert "Traceback" not in shop.log()


def test_the_other_addresses_answer(shop):
    assert {"ok": True} == shop.get("/healthz") == shop.get("/readyz")
    store = shop.get("/api/v1/store")
    assert ("demo", ["shoes", "promo"]) == (store["id"], [zone["id"] for zone in store["zones"]])
    summary = shop.get("/api/v1/summary")
    assert {
        *("readings", "taps", "samples", "visits", "dwells"),
        *("shelf_events", "people", "lost", "agents"),
    } <= set(summary)
    status, headers, body = shop.ask("/metrics")
    assert (200, "text/plain; version=0.0.4; charset=utf-8") == (status, headers["Content-Type"])
    assert b'\nfanous_rows_received_total{kind="tap"} 1\n' in body
    status, headers, body = shop.ask("/")
    assert (200, "text/html; charset=utf-8") == (status, headers["Content-Type"])
    assert b"<!doctype html>" in body.lower()
    assert shop.get("/api/v1/heatmap")["rows"]


def test_the_stream_is_one_json_each_second(shop):
    wait_until(lambda: shop.live()[-1][1]["zones"]["shoes"] == 1, "the last one is in the picture")
    url = f"http://127.0.0.1:{shop.port}/api/v1/live"
    messages = []
    with urllib.request.urlopen(url, timeout=10) as stream:
        assert "text/event-stream" == stream.headers["Content-Type"]
        while len(messages) < 2:
            line = stream.readline().decode()
            assert line.split(":")[0] in {"", "\n", "id", "data", "retry"}
            if line.startswith("data: "):
                messages.append(json.loads(line.removeprefix("data: ")))
    for message in messages:
        assert {"t_ns", "zones", "queues", "alarms", "tags", "events"} == set(message)
        (tag,) = message["tags"]
        assert {"tag", "zone", "zone_p", "x_m", "y_m", "sigma_m"} == set(tag)
        assert "shoes" == tag["zone"]
    wait_until(
        lambda: b"fanous_watchers 0\n" in shop.ask("/metrics")[2], "the watcher's place is free"
    )


def _run(directory, http):
    (directory / "store.toml").write_text(
        'schema = "fanous.store/1"\nid = "demo"\ntimezone = "UTC"\n'
    )
    (directory / "key").write_bytes(b"0123456789abcdef")
    (directory / "gateway.toml").write_text(
        'store = "store.toml"\nstate_dir = "state"\npseudonym_key_file = "key"\n'
        f"[http]\nport = {free_port()}\n{http}"
    )
    return subprocess.run(
        [sys.executable, "-m", "fanous", "gateway", "run", "-c", str(directory / "gateway.toml")],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )


@pytest.mark.parametrize(
    ("http", "sentence"),
    [
        ('bind = "0.0.0.0"', "token_file"),
        ('bind = "::"', "token_file"),
        ('bind = ""', "token_file"),
        ('bind = "0.0.0.0"\ntoken_file = "missing"', "missing"),
    ],
)
def test_an_open_address_without_a_token_refuses_to_start(tmp_path, http, sentence):
    done = _run(tmp_path, http)
    assert (2, "") == (done.returncode, done.stdout)
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "state").exists()


def test_with_a_token_programs_bear_it_and_the_page_signs_in(tmp_path):
    (tmp_path / "token").write_text("s3cret\n")
    with outside(tmp_path / "shop", more='bind = "0.0.0.0"\ntoken_file = "../token"\n') as shop:
        bearer = {"Authorization": "Bearer s3cret"}
        for path in ("/api/v1/visits", "/api/v1/live", "/metrics", "/page/page.js", "/nothing"):
            status, headers, _ = shop.ask(path)
            assert (401, "application/problem+json") == (status, headers["Content-Type"]), path
            assert "Bearer" == headers["WWW-Authenticate"]
        for wrong in ("Bearer s3cre", "Bearer", "s3cret", "Basic s3cret", "Bearer s3cret\xff"):
            assert 401 == shop.ask("/api/v1/visits", headers={"Authorization": wrong})[0]
        assert 200 == shop.ask("/api/v1/visits", headers=bearer)[0]
        assert 401 == shop.ask("/api/v1/visits", "POST")[0], "a write needs the token before all"
        assert 405 == shop.ask("/api/v1/visits", "POST", headers=bearer)[0]
        assert 200 == shop.ask("/healthz")[0]
        status, _, page = shop.ask("/")
        assert 401 == status
        assert b'type="password"' in page
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        assert 401 == shop.ask("/login", "POST", form, b"token=s3cre")[0]
        status, headers, _ = shop.ask("/login", "POST", form, b"token=s3cret")
        assert (303, "/") == (status, headers["Location"])
        cookie = http.cookies.SimpleCookie(headers["Set-Cookie"])["fanous_session"]
        assert cookie["httponly"]
        assert "Strict" == cookie["samesite"]
        session = {"Cookie": f"fanous_session={cookie.value}"}
        assert 200 == shop.ask("/", headers=session)[0]
        assert 200 == shop.ask("/api/v1/visits", headers=session)[0]
        assert 401 == shop.ask("/", headers={"Cookie": "fanous_session=other"})[0]
        for kind, body in (
            ("multipart/form-data", b"x"),
            ("multipart/form-data; boundary=a", b"--a\r\nfoo"),
            ("application/x-www-form-urlencoded; charset=klingon", b"token=a"),
        ):
            assert 400 == shop.ask("/login", "POST", {"Content-Type": kind}, body)[0]
