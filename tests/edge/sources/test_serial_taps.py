"""One presentation is one tap, at every reader; phones and the role of a port where people pay."""

import pytest

from edge.measurement import Tap
from edge.sources.serial_device import SerialDevice
from edge.sources.serial_settings import SerialPortSettings
from firmware_profiles.registry import load_registry
from tests.edge.agents import T0
from tests.firmware_profiles.sun_cards import SunCard

REGISTRY = load_registry()
CARD = {"uid_hex": "04a1b2c3d4e5f6"}
EM4100 = {
    "tag_hex": "67003b51c6",
    "version": 103,
    "card_number": 3887558,
    "wiegand_facility": 59,
    "wiegand_card": 20934,
}
WIEGAND = {"bits": 26, "data_hex": "d41b81", "facility_code": 212, "card_number": 7041}
READERS = {
    "rdm6300": (REGISTRY.encode("rdm6300", EM4100), "em4100:67003b51c6"),
    "pn532_hsu": (REGISTRY.encode("pn532_hsu", CARD), "nfc:04a1b2c3d4e5f6"),
    "wiegand_hex": (REGISTRY.encode("wiegand_hex", WIEGAND), "wiegand:13900673"),
    "wiegand_bits": (b"11101010000011011100000010\r", "wiegand:13900673"),
    "keyboard_wedge": (b"04A1B2C3D4E5F6\r\n", "nfc:04a1b2c3d4e5f6"),
    "keyboard_wedge, decimal": (b"0013900673\r\n", "wiegand:13900673"),
    "keyboard_wedge, short": (b"04A1B2C3\r\n", "nfc:04a1b2c3"),
}
TAP_PROFILES = {
    name
    for name, profile in REGISTRY.profiles.items()
    if profile.is_stream and any(e["kind"] == "tap" for e in profile.table.get("emit", ()))
}


def make(profile, **more):
    settings = SerialPortSettings(path="/p", profile=profile, baud=9600, tap_point="gate-1")
    return SerialDevice(settings, REGISTRY.profiles[profile], **more)


def test_no_reader_is_forgotten_here():
    assert {name.split(",")[0] for name in READERS} | {"ntag424_sun"} == TAP_PROFILES


@pytest.mark.parametrize("reader", sorted(READERS))
def test_a_card_that_stays_is_one_tap_and_one_more_after_it_was_away(reader):
    data, tag = READERS[reader]
    device = make(reader.split(",")[0])
    taps = [device.feed(data, T0 + n, n / 10)[0] for n in range(50)]
    assert taps == [[Tap(T0, "gate-1", tag)]] + [[]] * 49
    assert device.counts["held_off"] == 49
    assert device.feed(data, T0, 6.8)[0] == []
    assert device.feed(data, T0, 8.9)[0] == [Tap(T0, "gate-1", tag)]


def test_a_phone_at_a_reader_is_nobody():
    for profile, data in (
        ("pn532_hsu", REGISTRY.encode("pn532_hsu", {"uid_hex": "08a1b2c3"})),
        ("keyboard_wedge", b"08A1B2C3\r\n"),
    ):
        device = make(profile)
        assert device.feed(data, T0, 0.0)[0] == []
        assert device.counts["frames"] == 1


class Memory:
    """What has counted, kept in memory: the rule of `edge.tap_counters` without its disk."""

    def __init__(self, *, keeps=True):
        self.last, self.keeps, self.taken = {}, keeps, []

    def __call__(self, claim):
        is_new = self.keeps and claim.counter > self.last.get(claim.card, -1)
        if is_new:
            self.last[claim.card] = claim.counter
        self.taken += claim.settle(is_new)


def pay_point(card, *, keeps=True):
    memory = Memory(keeps=keeps)
    device = make("ntag424_sun", keys={"file": card.key}, claim=memory)
    return device, memory


def test_a_proof_is_a_tap_once():
    card = SunCard()
    device, memory = pay_point(card)
    first = card.read()
    assert device.feed(first, T0, 0.0)[0] == []  # it comes by the claim
    tap = Tap(T0, "gate-1", "nfc:04de5f1eacc040", "ntag424-sun")
    assert memory.taken == [tap]
    device.feed(first, T0 + 1, 10.0)
    device.feed(card.line(0), T0 + 2, 20.0)
    assert memory.taken == [tap]
    assert device.rejected == {"replayed": 2}
    device.feed(card.read(), T0 + 3, 30.0)
    assert len(memory.taken) == 2


def test_a_card_that_stays_is_one_tap_whether_the_address_changes_or_not():
    card = SunCard()
    device, memory = pay_point(card)
    for n in range(20):
        device.feed(card.read(), T0, n / 10)
    for n in range(20, 60):
        device.feed(card.line(card.counter), T0, n / 10)
    device.feed(card.read(), T0, 6.1)
    assert len(memory.taken) == 1
    assert (device.counts["held_off"], dict(device.rejected)) == (60, {})
    device.feed(card.read(), T0, 8.2)
    assert len(memory.taken) == 2


def test_what_was_held_off_does_not_count_later():
    card = SunCard()
    device, memory = pay_point(card)
    device.feed(card.read(), T0, 0.0)
    overheard = card.read()
    device.feed(overheard, T0, 0.5)
    device.feed(overheard, T0, 9.0)
    assert len(memory.taken) == 1
    assert (device.counts["held_off"], device.rejected["replayed"]) == (1, 1)


def test_old_addresses_do_not_keep_a_card_from_paying():
    card = SunCard()
    device, memory = pay_point(card)
    old = card.read()
    device.feed(old, T0, 0.0)
    device.feed(card.read(), T0, 5.0)
    for n in range(30):
        device.feed(old, T0, 8.0 + n / 10)
    device.feed(card.read(), T0, 11.0)
    assert len(memory.taken) == 3
    assert device.rejected["replayed"] == 30


def test_without_a_memory_nothing_proves_itself():
    card = SunCard()
    device, memory = pay_point(card, keeps=False)
    device.feed(card.read(), T0, 0.0)
    assert memory.taken == []
    bare = make("ntag424_sun", keys={"file": card.key})
    assert bare.feed(card.read(), T0, 0.0)[0] == []
    assert bare.rejected == {"replayed": 1}


def test_another_shops_card_is_not_authentic():
    card = SunCard(key=bytes(range(1, 17)))
    device, memory = pay_point(SunCard())
    device.feed(card.read(), T0, 0.0)
    assert (memory.taken, device.rejected) == ([], {"not-authentic": 1})
    keyless = make("ntag424_sun", keys={}, claim=memory)
    keyless.feed(card.read(), T0, 0.0)
    assert (memory.taken, keyless.rejected) == ([], {"no-key": 1})


def test_two_cards_at_one_reader_do_not_hold_each_other_off():
    one, other = SunCard(), SunCard("04958caa5c5e80")
    device, memory = pay_point(one)
    for n in range(4):
        device.feed(one.read(), T0, n / 10)
        device.feed(other.read(), T0, n / 10)
    assert [tap.tag for tap in memory.taken] == ["nfc:04de5f1eacc040", "nfc:04958caa5c5e80"]
