import itertools

import pytest

from edge.sources.serial_poll import AskDialogue, dialogue_of
from edge.sources.serial_settings import PollSettings, SerialPortSettings
from firmware_profiles.registry import load_registry

PROFILES = load_registry().profiles


def dialogue(profile, **fields):
    port = SerialPortSettings(path="/p", profile=profile, baud=9600, **fields)
    return dialogue_of(port, PROFILES[profile])


def bus(*units, **fields):
    polls = tuple(PollSettings(sensor=f"s-{u}", unit=u, counts_per_g=1.0) for u in units)
    made = dialogue("modbus_rtu_load_cell", poll=polls, **fields)
    made.begin(100.0)
    return made


def test_a_request_is_the_profiles_with_its_checksum():
    poll = bus(1)
    request = poll.next_request(100.0, frames=0)
    assert bytes.fromhex("010300000002c40b") == request.data
    assert (0, 0.25) == (request.target, request.timeout_s)


def test_units_are_asked_in_turn_with_a_silence_between_and_in_time():
    poll = bus(1, 2, poll_ms=200)
    now_s, asked = 100.0, []
    for _ in range(6):
        request = poll.next_request(now_s, frames=0)
        assert request.at_s - now_s >= 3.5 * 11 / 9600
        now_s = request.at_s + 0.01
        asked.append((request.target, round(request.at_s, 1)))
        assert poll.is_answer({"unit": request.target + 1, "function": 3, "registers": [0, 0]})
    assert asked == [(0, 100.0), (1, 100.0), (0, 100.2), (1, 100.2), (0, 100.4), (1, 100.4)]


@pytest.mark.parametrize(
    ("fields", "is_answer"),
    [
        ({"unit": 1, "function": 3, "registers": [0, 1]}, True),
        ({"unit": 1, "function": 0x83, "exception": 2}, True),
        ({"unit": 2, "function": 3, "registers": [0, 1]}, False),
        ({"unit": 1, "function": 4, "registers": [0, 1]}, False),
        ({"unit": 1, "function": 3, "registers": [0]}, False),
        ({"unit": 1, "function": 3, "address": 0, "count": 2, "kind": "request"}, False),
    ],
)
def test_only_what_was_asked_is_an_answer(fields, is_answer):
    poll = bus(1)
    poll.next_request(100.0, frames=0)
    assert is_answer == poll.is_answer(fields)


def test_a_unit_that_is_away_is_asked_once_a_second_until_it_answers():
    poll = bus(1)
    now_s, times = 100.0, []
    for _ in range(6):
        request = poll.next_request(now_s, frames=0)
        times.append(request.at_s)
        now_s = request.at_s + 0.05
        poll.missed()
    gaps = [round(b - a, 1) for a, b in itertools.pairwise(times)]
    assert gaps == [0.1, 0.1, 0.1, 1.0, 1.0]
    assert poll.is_answer({"unit": 1, "function": 3, "registers": [0, 1]})
    poll.next_request(now_s, frames=0)
    poll.is_answer({"unit": 1, "function": 3, "registers": [0, 1]})
    first = poll.next_request(now_s, frames=0).at_s
    assert poll.next_request(first, frames=0).at_s - first == pytest.approx(0.1)


def test_the_card_reader_is_woken_set_up_and_asked():
    reader = dialogue("pn532_hsu", tap_point="gate-1")
    reader.begin(100.0)
    codes = []
    for _ in range(4):
        request = reader.next_request(100.0, frames=0)
        codes.append(request.data[-5:].hex() if len(request.data) < 7 else request.data.hex())
        code = reader._code
        assert not reader.is_answer({"type": "ack"})
        assert not reader.is_answer({"type": "response", "code": code})
        assert reader.is_answer({"type": "response", "code": code + 1})
    assert codes[0] == "5555" + "00" * 14 + "0000ff05fbd4140114010200"
    assert codes[1].startswith("0000ff06fad4320")
    assert codes[2:] == ["0000ff04fcd44a0100e100"] * 2


def test_a_card_reader_that_lost_its_power_is_set_up_again():
    reader = dialogue("pn532_hsu", tap_point="gate-1")
    reader.begin(100.0)
    for _ in range(3):
        reader.next_request(100.0, frames=0)
        reader.is_answer({"type": "response", "code": reader._code + 1})
    for _ in range(3):
        assert reader.next_request(100.0, frames=0).data[:3] == b"\x00\x00\xff"
        reader.missed()
    assert reader.next_request(100.0, frames=0).data[:2] == b"\x55\x55"


def test_a_scale_is_asked_at_the_start_and_again_when_it_falls_silent():
    ask = AskDialogue("SIR\r\n", 0.0)
    ask.begin(100.0)
    assert [ask.next_request(t, frames=n).data for t, n in ((100, 0), (105, 9), (110, 9))] == [
        b"SIR\r\n",
        b"",
        b"SIR\r\n",
    ]


def test_a_scale_may_be_asked_regularly():
    ask = AskDialogue("SI\r\n", 0.2)
    ask.begin(100.0)
    times = [ask.next_request(100.0, frames=n).at_s for n in range(3)]
    assert times == pytest.approx([100.0, 100.2, 100.4])


def test_devices_that_speak_by_themselves_are_told_nothing():
    assert dialogue("rdm6300", tap_point="gate-1") is None
    assert isinstance(dialogue("mt_sics", sensor="s", ask="SIR\r\n"), AskDialogue)
