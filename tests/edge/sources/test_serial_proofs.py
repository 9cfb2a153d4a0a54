"""Cards that prove themselves, over a real pseudo-terminal and a real disk, and without one."""

import asyncio
import logging
import time
from collections import Counter
from pathlib import Path

import pytest

from edge.measurement import Tap
from edge.sources.serial_lines import SerialSource
from edge.sources.serial_proofs import WAITING_MAX, Claim, Proofs
from edge.tap_counters import TapCounters, card_digest
from ingest.config import ConfigError
from simulators.serial_ports import PseudoPort
from tests.edge.agents import until
from tests.edge.sources.test_serial_lines import drive
from tests.firmware_profiles.sun_cards import SunCard

KEY = bytes(range(16))
TILL = {
    "path": "till",
    "profile": "ntag424_sun",
    "tap_point": "till-1",
    "role": "payment",
    "keys_file": "keys.csv",
}
CARD = card_digest(b"card", KEY)
FILE_KEY = f"file,{KEY.hex()}\n"


def write_keys(folder, text=FILE_KEY):
    (folder / "keys.csv").write_text("id,key\n" + text)
    (folder / "keys.csv").chmod(0o600)


@pytest.fixture
def till(tmp_path):
    write_keys(tmp_path)
    port = PseudoPort(tmp_path / "till")
    yield port
    port.unplug()


def run(folder, work):
    return drive(folder, work, TILL, counters_file="state/tap_counters.db")


def test_a_card_pays_once_for_each_reading_over_restarts(tmp_path, till):
    card = SunCard(key=KEY)
    first = card.read()

    async def pays(rig):
        assert till.send(first)
        await until(lambda: rig.taken)

    rig = run(tmp_path, pays)
    (tap,) = rig.taken
    assert (tap.tap_point, tap.tag) == ("till-1", "nfc:04de5f1eacc040")
    assert tap.proof == "ntag424-sun"

    async def pays_again(rig):
        assert till.send(first)
        await until(lambda: rig.port()["rejected"].get("replayed") == 1)
        assert till.send(card.read())
        await until(lambda: rig.taken)

    rig = run(tmp_path, pays_again)
    assert [tap.proof for tap in rig.taken] == ["ntag424-sun"]
    assert rig.port()["rejected"] == {"replayed": 1}


def test_nothing_pays_while_the_disk_refuses(tmp_path, till, caplog):
    caplog.set_level(logging.INFO, "fanous.edge.serial")
    (tmp_path / "state").write_text("a file where a folder should be")
    card = SunCard(key=KEY)

    async def pays(rig):
        dropped = rig.source.dropped
        assert till.send(card.read())
        await until(lambda: dropped == {"counters_unusable": 1})
        assert till.send(card.read())
        await until(lambda: rig.source.health()["dropped"] == {"counters_unusable": 2})
        (tmp_path / "state").unlink()
        assert till.send(card.read())
        await until(lambda: rig.taken)

    rig = run(tmp_path, pays)
    assert [tap.tag for tap in rig.taken] == ["nfc:04de5f1eacc040"]
    told = [record.message for record in caplog.records if "counters of cards" in record.message]
    assert len(told) == 2
    assert "refused until they can" in told[0]


def proofs_of(path):
    given, dropped = [], Counter()
    return Proofs(TapCounters(path), given.extend, dropped), given, dropped


def claim(counter, settled):
    def settle(is_new):
        settled.append((counter, is_new))
        return [Tap(counter, "till-1", "nfc:04de5f1eacc040", "ntag424-sun")] if is_new else []

    return Claim(CARD, counter, settle)


def test_the_queue_has_a_size_and_keeps_the_order(tmp_path):
    proofs, given, dropped = proofs_of(tmp_path / "c.db")
    settled = []

    async def main():
        for counter in range(WAITING_MAX + 7):
            proofs.put(claim(counter, settled))
        task = asyncio.create_task(proofs.run())
        await until(lambda: len(settled) == WAITING_MAX)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(main())
    assert dropped == {"proofs_full": 7}
    assert settled == [(counter, True) for counter in range(WAITING_MAX)]
    assert [tap.t_ns for tap in given] == list(range(WAITING_MAX))


def test_a_stop_while_the_disk_is_slow_hands_nothing_on(tmp_path, monkeypatch):
    proofs, given, _ = proofs_of(tmp_path / "c.db")
    settled, at_it = [], []
    admit = TapCounters.admit

    def slowly(self, claims):
        at_it.append(1)
        time.sleep(0.2)
        return admit(self, claims)

    monkeypatch.setattr(TapCounters, "admit", slowly)

    async def main():
        proofs.put(claim(1, settled))
        task = asyncio.create_task(proofs.run())
        await until(lambda: at_it)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(main())
    assert (given, settled) == ([], [])


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("file," + "00" * 16 + "\n", "expected keys of your own, got the factory's"),
        ("04de5f1eacc040," + "00" * 16 + "\n", "expected keys of your own, got the factory's"),
        (f"meta,{KEY.hex()}\n", "expected a key with the id file"),
        (f"aa:bb:cc:dd:ee:ff,{KEY.hex()}\n", "expected a key with the id file"),
        ("file,1234\n", "line 2: expected a key of 32 hex digits"),
    ],
)
def test_keys_that_prove_nothing_are_refused(tmp_path, keys, message):
    write_keys(tmp_path, keys)
    table = {"port": [TILL], "counters_file": "c.db"}
    with pytest.raises(ConfigError, match=message) as caught:
        SerialSource.from_table(table, subject="x", base=tmp_path, now_ns=int)
    assert KEY.hex() not in str(caught.value)


def test_the_meta_key_may_be_the_factorys(tmp_path):
    write_keys(tmp_path, f"meta,{'00' * 16}\nfile,{KEY.hex()}\n")
    table = {"port": [TILL], "counters_file": "c.db"}
    source = SerialSource.from_table(table, subject="x", base=tmp_path, now_ns=int)
    assert source.health()["dropped"] == {}
    assert not Path(tmp_path / "c.db").exists()


def test_a_damaged_memory_is_found_before_anything_starts(tmp_path):
    write_keys(tmp_path)
    (tmp_path / "c.db").write_bytes(b"garbage" * 1000)
    table = {"port": [TILL], "counters_file": "c.db"}
    with pytest.raises(ConfigError, match="counters_file"):
        SerialSource.from_table(table, subject="x", base=tmp_path, now_ns=int)
