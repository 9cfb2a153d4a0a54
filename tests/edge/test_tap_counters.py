"""The counters of cards: rising, on the disk before anybody is told, whatever happens."""

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.tap_counters import CARD_BYTES, COUNTER_MAX, TapCounters, card_digest, check_counters
from ingest.config import ConfigError

ONE, OTHER = card_digest(b"one", b"k" * 16), card_digest(b"other", b"k" * 16)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "tap_counters.db"


@pytest.fixture
def counters(path):
    made = TapCounters(path)
    yield made
    made.close()


def test_a_counter_must_rise_for_each_card(counters):
    claims = [(ONE, 5), (ONE, 5), (ONE, 4), (OTHER, 4), (ONE, 6), (ONE, 0)]
    assert counters.admit(claims) == [True, False, False, True, True, False]
    assert counters.admit([(ONE, 6), (OTHER, 5), (ONE, 7)]) == [False, True, True]
    assert counters.admit([]) == []


def test_it_is_remembered_over_restarts(path, counters):
    assert counters.admit([(ONE, 100)]) == [True]
    counters.close()
    check_counters(path)
    again = TapCounters(path)
    assert again.admit([(ONE, 100), (ONE, 101)]) == [False, True]
    again.close()


def test_two_sources_with_one_file_admit_a_message_once(path):
    makers = [TapCounters(path) for _ in range(2)]
    found = [[], []]

    def work(which):
        for counter in range(1, 101):
            found[which] += makers[which].admit([(ONE, counter)])

    threads = [threading.Thread(target=work, args=(which,)) for which in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for maker in makers:
        maker.close()
    assert 1 <= sum(map(sum, found)) <= 100
    with sqlite3.connect(path) as base:
        assert base.execute("SELECT last FROM counter").fetchall() == [(100,)]
    base.close()


@given(
    st.lists(
        st.tuples(
            st.sampled_from([ONE, OTHER]) | st.binary(max_size=20),
            st.integers(-2, 12) | st.integers(COUNTER_MAX - 2, 1 << 70),
        ),
        max_size=30,
    )
)
@settings(max_examples=40, deadline=None)
def test_any_claims_follow_the_rule(tmp_path_factory, claims):
    counters = TapCounters(tmp_path_factory.mktemp("fuzz") / "c.db")
    last = {}
    expected = []
    for card, counter in claims:
        is_new = len(card) == CARD_BYTES and last.get(card, -1) < counter <= COUNTER_MAX
        expected.append(is_new)
        if is_new:
            last[card] = counter
    half = len(claims) // 2
    assert counters.admit(claims[:half]) + counters.admit(claims[half:]) == expected
    counters.close()


CHILD = """
import sys
from pathlib import Path
from edge.tap_counters import TapCounters, card_digest
counters, card = TapCounters(Path(sys.argv[1])), card_digest(b"one", b"k" * 16)
counter = int(sys.argv[2])
while True:
    counter += 1
    if counters.admit([(card, counter)]) == [True]:
        print(counter, flush=True)  # as good as a tap that was handed on
"""


def test_an_agent_that_is_killed_never_told_what_is_not_on_the_disk(path):
    told = 0
    for round_ in range(4):
        child = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(CHILD), str(path), str(told)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )
        try:
            for _ in range(5 + 7 * round_):
                told = int(child.stdout.readline())
        finally:
            os.kill(child.pid, signal.SIGKILL)
            rest = child.stdout.read().split()
            child.wait()
            child.stdout.close()
        told = int(rest[-1]) if rest else told
        counters = TapCounters(path)
        assert counters.admit([(ONE, counter) for counter in range(1, told + 1)]) == [False] * told
        counters.close()
    assert told >= 26


def test_when_the_disk_refuses_nothing_is_new_and_it_goes_on_later(path, counters):
    assert counters.admit([(ONE, 1)]) == [True]
    blocker = sqlite3.connect(path)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError):
        counters.admit([(ONE, 2)])
    blocker.rollback()
    blocker.close()
    assert counters.admit([(ONE, 1), (ONE, 2)]) == [False, True]


def test_no_uid_is_on_the_disk(path, counters):
    uid, key = bytes.fromhex("04de5f1eacc040"), bytes(range(16))
    assert counters.admit([(card_digest(uid, key), 1)]) == [True]
    counters.close()
    for file in path.parent.iterdir():
        data = file.read_bytes()
        assert uid not in data
        assert uid.hex().encode() not in data.lower()


def test_a_card_with_a_new_key_begins_anew():
    uid = bytes.fromhex("04de5f1eacc040")
    assert card_digest(uid, bytes(16)) != card_digest(uid, bytes(15) + b"\1")
    assert len(card_digest(uid, bytes(16))) == CARD_BYTES


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"", None])
def test_a_damaged_file_is_refused_and_a_missing_one_is_not(path, content):
    check_counters(path)
    path.parent.mkdir()
    if content is None:
        base = sqlite3.connect(path)
        base.execute("CREATE TABLE other (a)")
        base.commit()
        base.close()
    else:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match="expected the counters of cards") as caught:
        check_counters(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_lost_pages_is_refused(path, counters):
    cards = [(card_digest(bytes([n % 256, n // 256]), b"k" * 16), n) for n in range(2000)]
    assert all(counters.admit(cards))
    counters.close()
    size = path.stat().st_size
    os.truncate(path, size // 2)
    with pytest.raises(ConfigError, match="counters of cards"):
        check_counters(path)


def test_its_memory_does_not_grow_with_the_cards(path, counters):
    """10,000 cards are a file of less than a megabyte, and a cache of a fixed size."""
    for begin in range(0, 10_000, 500):
        cards = [(n.to_bytes(CARD_BYTES), 1) for n in range(begin, begin + 500)]
        assert all(counters.admit(cards))
    base = counters._opened()
    assert base.execute("PRAGMA cache_size").fetchone() == (-256,)
    assert base.execute("PRAGMA synchronous").fetchone() == (2,)
    assert base.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    counters.close()
    assert path.stat().st_size < 1_000_000
