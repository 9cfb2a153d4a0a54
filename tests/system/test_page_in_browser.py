"""The live floor page in a real browser, before a fake gateway.

`page_checks` holds what is true of every gateway; here are the odd stores, the lost line,
and what the page must say in words.
"""

import re
import time
from contextlib import contextmanager

import pytest

from tests.system import page_checks as checks
from tests.system.fake_gateway import START_NS, FakeGateway, Scene
from tests.system.fake_stores import bare_store, hostile_store, scaled_store

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

FAST_S = 0.15


@pytest.fixture(scope="module")
def browser():
    with checks.chromium() as running:
        yield running


@contextmanager
def _played(browser, scene, **options):
    """Serve a scene and look at it."""
    with FakeGateway(scene) as gateway, checks.looking(browser, gateway.url, **options) as look:
        yield gateway, look


def _text(look, selector):
    return look.page.inner_text(selector)


def _wait(look, expression, **options):
    look.page.wait_for_function(expression, timeout=checks.LIMIT_MS, **options)


def _let_pass(look, gateway, steps):
    """Keep the browser going while the fake world makes some steps."""
    limit = time.monotonic() + checks.LIMIT_MS / 1000
    until_ns = gateway.world.t_ns + steps * 10**9
    while gateway.world.t_ns < until_ns:
        assert time.monotonic() < limit, f"the fake made no {steps} steps in time"
        look.page.evaluate("() => new Promise(requestAnimationFrame)")


def test_the_page_lives(browser):
    with FakeGateway(Scene(interval_s=FAST_S)) as gateway:
        checks.assert_page_lives(browser, gateway.url)


def test_it_comes_back_after_the_gateway_was_away(browser):
    with _played(browser, Scene(interval_s=FAST_S)) as (gateway, look):
        checks.assert_tags_move(look)
        checks.assert_quiet(look, gateway.url)
        gateway.stop()
        checks.wait_for_state(look, "reconnecting")
        assert "Reconnecting" in _text(look, "#state-text")
        _wait(look, "() => / ago$/.test(document.getElementById('state-detail').textContent)")
        assert look.page.evaluate("() => document.body.classList.contains('is-stale')")
        gateway.start()
        checks.wait_for_state(look, "live")
        checks.assert_tags_move(look)
        assert not look.page.evaluate("() => document.body.classList.contains('is-stale')")
        assert [line for line in look.console if "ERR_CONNECTION_REFUSED" not in line] == []


def test_a_line_that_is_silent_is_not_called_live(browser):
    scene = Scene(interval_s=FAST_S)
    with FakeGateway(scene) as gateway, checks.looking(browser, gateway.url) as look:
        checks.wait_for_tags(look)
        scene.interval_s = 3600.0
        checks.wait_for_state(look, "stalled")
        assert _text(look, "#state-text") == "No new data"
        checks.assert_quiet(look, gateway.url)


def test_pause_holds_the_picture_and_says_so(browser):
    with _played(browser, Scene(interval_s=FAST_S)) as (gateway, look):
        checks.assert_tags_move(look)
        look.page.click("#pause")
        checks.wait_for_state(look, "paused")
        held = _text(look, "#clock")
        assert _text(look, "#pause") == "Resume"
        _wait(look, "() => document.getElementById('state-detail').textContent !== ''")
        _let_pass(look, gateway, 5)
        assert held == _text(look, "#clock")
        look.page.click("#pause")
        checks.wait_for_state(look, "live")
        checks.assert_tags_move(look)


GREETINGS = {
    "shelf.low": "Runner 42 on shoes-1 is running low",
    "shelf.empty": "Cap on promo-1 has run out",
    "queue.long": "The queue at Queue is long: 6 people",
    "tag.cloned": "One tag was seen in two places at once: Shoes, Exit",
    "agent.silent": "Agent pi-2 has been silent since 17:00:00",
    "sensor.fault": "Sensor plate-1 is not well: stuck",
    "shelf.retracted": "Correction: an earlier report about shoes-1 did not hold",
    "something.new": "something.new: a thing",
}


def test_every_kind_of_event_is_a_sentence(browser):
    with _played(browser, Scene(interval_s=FAST_S)) as (gateway, look):
        look.page.wait_for_selector('#events [data-event="shelf.looked"]', state="attached")
        said = {
            name: look.page.text_content(f'#events [data-event="{name}"] p').strip()
            for name in GREETINGS
        }
        assert said == GREETINGS
        checks.assert_quiet(look, gateway.url)


def _nothing_yet(message):
    message |= {"t_ns": 0, "tags": [], "queues": {}, "events": []}
    message["alarms"] = [
        {"type": "queue.long", "subject": "queue", "zone": "queue"},
        {"type": "sensor.fault", "subject": "plate-1", "sensor": "plate-1"},
        {"type": "agent.silent", "subject": "pi-2", "agent": "pi-2", "since_ns": START_NS},
    ]


def test_before_the_first_data_nothing_is_made_up(browser):
    scene = Scene(interval_s=FAST_S, change=_nothing_yet)
    with _played(browser, scene, state="waiting") as (gateway, look):
        assert _text(look, "#state-text") == "Connected"
        assert _text(look, "#clock") == "–"
        assert _text(look, "#plan-message") == "Waiting for the first data…"
        alarms = look.page.eval_on_selector_all("#alarms p", "nodes => nodes.map(n => n.innerText)")
        assert alarms == [
            "The queue at Queue is long",
            "Sensor plate-1 is not well",
            "Agent pi-2 has been silent since 17:00:00",
        ]
        checks.assert_quiet(look, gateway.url)


def _shelf_story(message):
    """A pick that is taken back, one that is confirmed, and a way from zone to zone."""
    tick = round((message["t_ns"] - START_NS) / 1e9)
    tag = "p_abcdabcdabcdabcd"

    def event(name, number, **data):
        data = {"t_ns": message["t_ns"], "tag": tag, "layer": "main"} | data
        return {"id": f"{name}{number}", "type": f"io.fanous.{name}.v1", "data": data}

    shelf = {"shelf": "promo-1", "gtin": "04012345670007", "quantity": -2}
    message["tags"] = []
    if tick == 3:
        message["events"] = [
            event("shelf.picked", 1, event="e1", status="provisional", **shelf),
            event("shelf.picked", 2, event="e2", status="provisional", **shelf),
            event("zone.left", 3, zone="shoes"),
            event("zone.entered", 4, zone="kids"),
        ]
    elif tick == 6:
        message["events"] = [
            event("shelf.retracted", 5, event="e1", status="retracted", **shelf),
            event("shelf.picked", 6, event="e2", status="final", **shelf),
            event("shelf.picked", 6, event="e2", status="final", **shelf),
            event("visit.ended", 7, visit_s=3725.0, zones=1),
            event("tag.tapped", 8, tap_point="gate-2"),
        ]
    else:
        message["events"] = []


def test_a_shelf_event_is_confirmed_or_struck_out_in_place(browser):
    scene = Scene(interval_s=0.3, change=_shelf_story)
    with FakeGateway(scene) as gateway, checks.looking(browser, gateway.url) as look:
        look.page.wait_for_selector("#events .provisional")
        look.page.wait_for_selector('#events [data-event="tag.tapped"]')
        said = look.page.eval_on_selector_all(
            "#events li", "nodes => nodes.map(n => [n.className, n.children[1].textContent.trim()])"
        )
        picked = [entry for entry in said if "took" in entry[1]]
        assert [[kind, _plain(text)] for kind, text in picked] == [
            ["", "abcd took 2 × Cap from promo-1"],
            ["retracted", "abcd took 2 × Cap from promo-1 taken back"],
        ]
        sentences = [_plain(text) for _, text in said]
        assert "abcd went from Shoes to Kids" in sentences
        assert "abcd ended a visit of 1 h 2 min, 1 zone" in sentences
        assert "abcd tapped out at gate-2" in sentences
        assert sum("went" in text or "left" in text for text in sentences) == 1
        assert _text(look, '[data-counter="people"]') == "0"
        checks.assert_quiet(look, gateway.url)


def _plain(text):
    """Drop the two letters of the picture before a visitor's name."""
    return re.sub(r"^ab(?=abcd)", "", text)


def _oddities(message):
    message["zones"]["kids"] = None
    message["zones"]["attic"] = 3
    message["tags"][0] |= {"x_m": None, "y_m": None, "sigma_m": None}
    message["tags"][1]["x_m"] = -40.0
    message["tags"][2] |= {"zone": "attic", "zone_p": None}
    message["tags"][3] |= {"zone": None, "zone_p": None, "sigma_m": None}
    message["alarms"] = ["plain words", {"type": "queue.long", "zone": "queue", "length": 9}]


def test_what_is_not_known_is_said(browser):
    scene = Scene(interval_s=FAST_S, change=_oddities)
    with FakeGateway(scene) as gateway, checks.looking(browser, gateway.url) as look:
        checks.assert_tags_move(look)
        note = _text(look, "#plan-note")
        assert "1 person is present without a known place" in note
        assert "1 mark is beyond the plan" in note
        assert "Not on the plan: attic" in note
        assert look.page.get_attribute('[data-zone="kids"]', "data-level") == "unknown"
        assert look.page.text_content('[data-zone-row="attic"] .figure') == "3"
        assert look.page.text_content('[data-zone-row="kids"] .figure') == "–"
        assert _text(look, '[data-counter="people"]') == "14"
        assert len(checks.tag_places(look)) == 13
        alarms = look.page.eval_on_selector_all("#alarms p", "nodes => nodes.map(n => n.innerText)")
        assert alarms == ["plain words", "The queue at Queue is long: 9 people"]
        checks.assert_quiet(look, gateway.url)


STORES = {
    "no zones, no outline": (bare_store(), 3),
    "no receivers at all": (bare_store() | {"receivers": []}, 2),
    "tiny": (scaled_store(0.02), 5),
    "huge": (scaled_store(60), 30),
    "a crowd": (scaled_store(4), 500),
    "hostile": (hostile_store(), 6),
}


@pytest.mark.parametrize("name", STORES)
def test_odd_stores_are_drawn(browser, name):
    store, shoppers = STORES[name]
    scene = Scene(store=store, shoppers=shoppers, interval_s=0.4)
    with FakeGateway(scene) as gateway, checks.looking(browser, gateway.url) as look:
        checks.assert_tags_move(look)
        assert shoppers == len(checks.tag_places(look))
        assert (store["name"] or store["id"]) == _text(look, "#store-name")
        assert not look.page.evaluate("() => document.body.dataset.owned")
        broken = look.page.evaluate(
            "() => [...document.querySelectorAll('#plan [d], #plan [transform]')].filter((node) =>"
            " /NaN|Infinity|undefined/.test(node.outerHTML)).length"
        )
        assert broken == 0
        checks.assert_fits(look)
        checks.assert_quiet(look, gateway.url)


def test_an_empty_store_is_drawn_empty(browser):
    with _played(browser, Scene(shoppers=0, interval_s=FAST_S)) as (gateway, look):
        _wait(look, "() => document.querySelector('[data-counter=people]').textContent === '0'")
        levels = look.page.eval_on_selector_all(
            "#plan-floor .zone", "nodes => nodes.map((node) => node.dataset.level)"
        )
        assert {"0"} == set(levels)
        assert checks.tag_places(look) == {}
        assert look.page.is_hidden("#plan-message")
        checks.assert_quiet(look, gateway.url)


def test_up_is_up_and_no_text_is_mirrored(browser):
    with _played(browser, Scene(interval_s=FAST_S)) as (_, look):
        checks.wait_for_tags(look)
        tops = look.page.evaluate(
            "() => Object.fromEntries([...document.querySelectorAll('#plan-floor .zone')].map("
            "(zone) => [zone.dataset.zone, zone.getBoundingClientRect().top]))"
        )
        assert tops["kids"] < tops["sport"] < tops["promo"]
        turns = look.page.eval_on_selector_all(
            "#plan text",
            "nodes => nodes.map((n) => n.getScreenCTM()).map((m) => m.a * m.d - m.b * m.c)",
        )
        assert len(turns) > 20
        assert min(turns) > 0


def test_a_pseudonym_is_never_in_the_document(browser):
    with _played(browser, Scene(interval_s=FAST_S)) as (_, look):
        checks.assert_events_appear(look)
        assert re.findall(r"p_[a-z2-7]{5,}", look.page.content()) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_by_day_and_night(browser, scheme):
    options = {"viewport": {"width": 360, "height": 740}, "color_scheme": scheme}
    with _played(browser, Scene(interval_s=FAST_S), **options) as (gateway, look):
        checks.assert_zones_show_people(look)
        checks.assert_fits(look)
        ground = look.page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        brightness = sum(int(part) for part in re.findall(r"\d+", ground)[:3])
        assert (scheme == "light") == (brightness > 380)
        checks.assert_quiet(look, gateway.url)


SETTLED_PLACES = f"""async () => {{
  const places = {checks.TAG_PLACES};
  const clock = document.getElementById("clock");
  const seen = {{}};
  for (let changes = 0, frames = 0, text = clock.textContent; changes < 4; frames += 1) {{
    await new Promise(requestAnimationFrame);
    if (clock.textContent !== text) {{
      [text, frames] = [clock.textContent, 0];
      changes += 1;
    }} else if (changes > 0 && frames > 4) {{
      (seen[text] ??= []).push(JSON.stringify(places()));
    }}
  }}
  return Object.values(seen);
}}"""


def test_with_reduced_motion_marks_jump(browser):
    with _played(browser, Scene(interval_s=1.0), reduced_motion="reduce") as (gateway, look):
        checks.assert_tags_move(look)
        seconds = look.page.evaluate(SETTLED_PLACES)
        assert len(seconds) > 1
        assert max(len(places) for places in seconds) > 1
        assert [len(set(places)) for places in seconds] == [1] * len(seconds)
        assert len({places[0] for places in seconds}) == len(seconds)
        checks.assert_quiet(look, gateway.url)


def test_the_keyboard_reaches_everything(browser):
    with _played(browser, Scene(interval_s=FAST_S)) as (_, look):
        checks.wait_for_tags(look)
        reached = []
        for _ in range(9):
            look.page.keyboard.press("Tab")
            reached.append(
                look.page.evaluate(
                    "() => { const node = document.activeElement;"
                    " return [node.id || node.dataset.filter || node.className,"
                    " getComputedStyle(node).outlineStyle]; }"
                )
            )
        names = ["skip", "pause", "view-plan", "view-table"]
        names += ["move", "visit", "shelf", "alarm", "events-scroll"]
        assert [[name, "solid"] for name in names] == reached
        look.page.focus("#view-table")
        look.page.keyboard.press("Enter")
        assert look.page.is_visible("#zone-table table")
        assert look.page.is_hidden("#plan-floor")
        rows = look.page.eval_on_selector_all("#zone-rows tr", "rows => rows.length")
        assert rows == 10
        look.page.focus('[data-filter="move"]')
        look.page.keyboard.press("Space")
        assert look.page.get_attribute('[data-filter="move"]', "aria-pressed") == "false"
        _wait(
            look,
            "() => [...document.querySelectorAll('#events [data-kind=move]')].every("
            "(item) => item.getBoundingClientRect().height === 0)",
        )


def test_listeners_are_not_flooded(browser):
    with _played(browser, Scene(interval_s=FAST_S)) as (gateway, look):
        look.page.evaluate(
            "() => { window.spoken = 0; for (const node of document.querySelectorAll("
            "'[aria-live], [role=status]')) new MutationObserver(() => { window.spoken += 1; })"
            ".observe(node, {childList: true, characterData: true, subtree: true}); }"
        )
        _let_pass(look, gateway, 20)
        assert look.page.evaluate("() => window.spoken") <= 1
        label = look.page.get_attribute("#plan-floor", "aria-label")
        assert label.startswith("Floor plan of Demo store. 14 people present.")


def test_a_refusal_is_explained(browser):
    with _played(browser, Scene(interval_s=FAST_S, refuses=True)) as (_, look):
        _wait(look, "() => /Sign in/.test(document.getElementById('plan-message').innerText)")
        assert [line for line in look.console if "401" not in line] == []
