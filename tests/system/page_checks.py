"""What a browser must see on the live floor page, as functions of a base URL.

They know the page and nothing of what serves it, so the same checks run against the fake
gateway and against a real one. All waiting is for a condition in the page, with a limit.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LIMIT_MS = 20_000

TAG_PLACES = """() => Object.fromEntries(
  [...document.querySelectorAll("#plan-tags .tag:not(.leaving)")].map(
    (tag) => [tag.dataset.tag, tag.getAttribute("transform")]))"""
COUNTERS = """() => Object.fromEntries([...document.querySelectorAll("[data-counter]")].map(
  (node) => [node.dataset.counter, node.textContent]))"""
ZONES = """() => [...document.querySelectorAll("#plan-floor .zone:not(.over)")].map((zone) => ({
  id: zone.dataset.zone, level: zone.dataset.level, people: Number(zone.dataset.people),
  fill: getComputedStyle(zone.querySelector("path")).fill}))"""


def require_chromium() -> None:
    """Skip without a browser, and fail instead where CI promises one."""
    if CHROMIUM.exists():
        return
    sentence = f"{CHROMIUM} is missing; install Debian's chromium to test the page in a browser"
    if os.environ.get("CI") == "true":
        pytest.fail(sentence)
    pytest.skip(sentence)


@contextmanager
def chromium() -> Iterator[Any]:
    """Start a headless browser, and end it."""
    require_chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass(slots=True, kw_only=True)
class Look:
    """An open page, what its console said and which addresses it asked for."""

    page: Any
    console: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)


@contextmanager
def looking(browser: Any, base_url: str, *, state: str = "live", **options: Any) -> Iterator[Look]:
    """Open the page in a fresh context and wait until it is in a state, usually live."""
    options.setdefault("viewport", {"width": 1280, "height": 800})
    context = browser.new_context(**options)
    try:
        page = context.new_page()
        look = Look(page=page)
        page.on("console", lambda message: look.console.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: look.console.append(f"page error: {error}"))
        page.on("request", lambda request: look.addresses.append(request.url))
        page.goto(base_url + "/")
        wait_for_state(look, state)
        yield look
    finally:
        context.close()


def wait_for_state(look: Look, state: str, limit_ms: int = LIMIT_MS) -> None:
    """Wait until the page says that its line is live, reconnecting and so on."""
    look.page.wait_for_selector(f'#state[data-state="{state}"]', timeout=limit_ms)


def tag_places(look: Look) -> dict[str, str]:
    """Give each visible tag's place on the screen."""
    return dict(look.page.evaluate(TAG_PLACES))


def wait_for_tags(look: Look, limit_ms: int = LIMIT_MS) -> None:
    """Wait until somebody is drawn."""
    look.page.wait_for_selector("#plan-tags .tag[transform]", state="attached", timeout=limit_ms)


def assert_tags_move(look: Look, limit_ms: int = LIMIT_MS) -> None:
    """Some tag that was seen before is somewhere else after a while."""
    wait_for_tags(look, limit_ms)
    before = tag_places(look)
    look.page.wait_for_function(
        f"(before) => Object.entries(({TAG_PLACES})()).some("
        "([tag, place]) => before[tag] && before[tag] !== place)",
        arg=before,
        timeout=limit_ms,
    )


def assert_zones_show_people(look: Look, limit_ms: int = LIMIT_MS) -> None:
    """A zone with people has another colour than the empty floor, by the number of people."""
    look.page.wait_for_selector(
        '#plan-floor .zone:not(.over)[data-level]:not([data-level="0"], [data-level="unknown"])',
        state="attached",
        timeout=limit_ms,
    )
    look.page.wait_for_function(
        f"""() => {{
          const zones = ({ZONES})();
          const fillOf = new Map(zones.map((zone) => [zone.level, zone.fill]));
          const full = zones.filter((zone) => zone.people > 0);
          return full.length > 0
            && full.every((zone) => zone.level !== "0")
            && zones.every((zone) => zone.fill === fillOf.get(zone.level))
            && new Set(fillOf.values()).size === fillOf.size;
        }}""",
        timeout=limit_ms,
    )


def assert_counters_change(look: Look, limit_ms: int = LIMIT_MS) -> None:
    """All counters have figures, and the readings go on."""
    look.page.wait_for_function(
        f"() => Object.values(({COUNTERS})()).every((text) => /[0-9]/.test(text))",
        timeout=limit_ms,
    )
    before = look.page.evaluate(COUNTERS)
    assert {"people", "visits", "dwells", "shelf_events", "readings"} == set(before)
    look.page.wait_for_function(
        f"(before) => ({COUNTERS})().readings !== before.readings", arg=before, timeout=limit_ms
    )


def assert_events_appear(look: Look, limit_ms: int = LIMIT_MS) -> None:
    """Events are told in whole sentences, and new ones come on top."""
    look.page.wait_for_selector("#events li p", timeout=limit_ms)
    look.page.evaluate("() => document.querySelector('#events li').classList.add('was-first')")
    look.page.wait_for_function(
        "() => !document.querySelector('#events li')?.classList.contains('was-first')",
        timeout=limit_ms,
    )
    texts = look.page.eval_on_selector_all("#events li p", "nodes => nodes.map(n => n.textContent)")
    assert [text for text in texts if "{" in text or "undefined" in text or "NaN" in text] == []


def assert_quiet(look: Look, base_url: str) -> None:
    """The console said nothing, and nothing was asked of anybody but the gateway."""
    assert look.console == []
    assert [a for a in look.addresses if not a.startswith((base_url + "/", "data:"))] == []


def assert_fits(look: Look) -> None:
    """Nothing sticks out to the side."""
    assert look.page.evaluate(
        "() => document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )


def assert_page_lives(browser: Any, base_url: str, limit_ms: int = LIMIT_MS) -> None:
    """Check everything at once: for a gateway with traffic."""
    with looking(browser, base_url) as look:
        assert_tags_move(look, limit_ms)
        assert_zones_show_people(look, limit_ms)
        assert_counters_change(look, limit_ms)
        assert_events_appear(look, limit_ms)
        assert_fits(look)
        assert_quiet(look, base_url)
