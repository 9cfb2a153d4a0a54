import json

import pytest

from ingest.order import NS, Arrival, BatchLedger, Watermark

STREAM = ("pi-1", "b0", "ble")


def add(ledger, *seqs, stream=STREAM):
    return [ledger.add(*stream, seq) for seq in seqs]


def test_ack_goes_up_to_the_gap_and_no_further():
    ledger = BatchLedger()
    assert ledger.ack_seq(*STREAM) == 0
    assert add(ledger, 1, 2) == [Arrival.NEW] * 2
    assert ledger.ack_seq(*STREAM) == 2
    add(ledger, 4, 5)
    assert ledger.ack_seq(*STREAM) == 2
    add(ledger, 3)
    assert ledger.ack_seq(*STREAM) == 5


def test_nothing_is_acknowledged_before_the_first():
    ledger = BatchLedger()
    add(ledger, 2, 3)
    assert ledger.ack_seq(*STREAM) == 0
    add(ledger, 1)
    assert ledger.ack_seq(*STREAM) == 3


def test_duplicates_are_known_on_both_sides_of_a_gap():
    ledger = BatchLedger()
    add(ledger, 1, 3)
    assert add(ledger, 1, 3, 2) == [Arrival.DUPLICATE, Arrival.DUPLICATE, Arrival.NEW]
    assert ledger.holds(*STREAM, 3)
    assert not ledger.holds(*STREAM, 4)
    assert not ledger.holds("pi-1", "b0", "tap", 1)


def test_streams_are_apart():
    ledger = BatchLedger()
    add(ledger, 1)
    for stream in (("pi-2", "b0", "ble"), ("pi-1", "b1", "ble"), ("pi-1", "b0", "tap")):
        assert ledger.ack_seq(*stream) == 0
        assert add(ledger, 1, stream=stream) == [Arrival.NEW]


def test_too_many_gaps_are_turned_away_and_come_again():
    ledger = BatchLedger(gaps_max=2)
    assert add(ledger, 1, 3, 5, 7) == [Arrival.NEW, Arrival.NEW, Arrival.NEW, Arrival.AHEAD]
    assert add(ledger, 6) == [Arrival.NEW]
    assert add(ledger, 2, 4) == [Arrival.NEW, Arrival.NEW]
    assert ledger.ack_seq(*STREAM) == 6
    assert add(ledger, 8) == [Arrival.NEW]
    assert add(ledger, 7) == [Arrival.NEW]
    assert ledger.ack_seq(*STREAM) == 8


def test_the_first_is_welcome_however_many_gaps_there_are():
    ledger = BatchLedger(gaps_max=1)
    assert add(ledger, 3, 5, 1) == [Arrival.NEW, Arrival.AHEAD, Arrival.NEW]
    assert ledger.ack_seq(*STREAM) == 1


def test_a_gateway_that_lost_its_ledger_goes_on_from_what_the_sender_still_holds():
    ledger = BatchLedger()
    assert Arrival.NEW is ledger.add(*STREAM, 41)
    assert ledger.ack_seq(*STREAM) == 0
    assert Arrival.NEW is ledger.add(*STREAM, 42, first_seq=41)
    assert ledger.ack_seq(*STREAM) == 42


def test_streams_are_bounded_and_the_oldest_is_forgotten():
    ledger = BatchLedger(streams_max=2)
    for boot in ("b0", "b1", "b0", "b2"):
        ledger.add("pi-1", boot, "ble", 1)
    assert ledger.forgotten == 1
    assert not ledger.holds("pi-1", "b1", "ble", 1)
    assert ledger.holds("pi-1", "b0", "ble", 1)


def test_the_ledger_survives_as_plain_data():
    ledger, again = BatchLedger(), BatchLedger()
    add(ledger, 1, 2, 5)
    add(ledger, 1, stream=("pi-2", "b0", "tap"))
    again.restore(json.loads(json.dumps(ledger.state())))
    assert ledger.state() == again.state()
    add(again, 3, 4)
    assert again.ack_seq(*STREAM) == 5
    assert ledger.ack_seq(*STREAM) == 2
    ledger.restore([again.stream_state(*STREAM)])
    assert ledger.ack_seq(*STREAM) == 5
    assert ledger.stream_state("pi-9", "b0", "tap") is None


def test_the_slowest_healthy_agent_holds_time_back():
    mark = Watermark(silent_s=10, lateness_s=1)
    assert mark.watermark_ns(0) is None
    mark.add("pi-1", 100 * NS, 100 * NS)
    mark.add("pi-2", 97 * NS, 100 * NS)
    assert mark.watermark_ns(100 * NS) == 96 * NS
    mark.add("pi-2", 99 * NS, 101 * NS)
    assert mark.watermark_ns(101 * NS) == 98 * NS


def test_older_rows_move_nothing():
    mark = Watermark(lateness_s=0)
    mark.add("pi-1", 100 * NS, 100 * NS)
    mark.add("pi-1", 50 * NS, 101 * NS)
    assert mark.watermark_ns(101 * NS) == 100 * NS


def test_a_new_agent_never_turns_time_back():
    mark = Watermark(lateness_s=0)
    mark.add("pi-1", 100 * NS, 100 * NS)
    assert mark.watermark_ns(100 * NS) == 100 * NS
    mark.add("pi-2", 90 * NS, 100 * NS)
    assert mark.watermark_ns(100 * NS) == 100 * NS


def test_a_silent_agent_holds_nothing_back_on_the_wall_clock():
    mark = Watermark(silent_s=10, lateness_s=0)
    mark.add("pi-1", 100 * NS, 100 * NS)
    mark.add("pi-2", 100 * NS, 100 * NS)
    mark.add("pi-1", 111 * NS, 111 * NS)
    assert mark.watermark_ns(111 * NS) == 111 * NS
    assert mark.silent_agents(111 * NS) == ["pi-2"]


def test_when_all_are_silent_wall_time_goes_on():
    mark = Watermark(silent_s=10, lateness_s=1)
    mark.add("pi-1", 100 * NS, 100 * NS)
    assert mark.watermark_ns(110 * NS) == 99 * NS
    assert mark.watermark_ns(200 * NS) == 189 * NS


def test_an_offline_agent_holds_nothing_back_until_it_speaks():
    mark = Watermark(lateness_s=0)
    mark.add("pi-1", 100 * NS, 100 * NS)
    mark.add("pi-2", 90 * NS, 100 * NS)
    mark.set_online("pi-2", online=False)
    mark.set_online("pi-9", online=False)
    assert mark.watermark_ns(100 * NS) == 100 * NS
    mark.add("pi-1", 105 * NS, 101 * NS)
    mark.add("pi-2", 103 * NS, 101 * NS)
    assert mark.watermark_ns(101 * NS) == 103 * NS


def test_in_the_data_clock_silence_is_measured_in_event_time():
    mark = Watermark(clock="data", silent_s=10, lateness_s=0)
    mark.add("pi-1", 100 * NS, 0)
    mark.add("pi-2", 95 * NS, 0)
    assert mark.watermark_ns(10**6 * NS) == 95 * NS
    mark.add("pi-1", 106 * NS, 0)
    assert mark.watermark_ns(5 * NS) == 95 * NS, "it may only be slow"
    assert mark.watermark_ns(6 * NS) == 106 * NS
    mark.set_online("pi-1", online=False)
    mark.set_online("pi-2", online=False)
    assert mark.watermark_ns(10**6 * NS) == 106 * NS


def test_agents_are_bounded():
    mark = Watermark(agents_max=2, lateness_s=0)
    for number in (3, 1, 2):
        mark.add(f"pi-{number}", number * NS, 0)
    assert mark.watermark_ns(0) == 2 * NS


@pytest.mark.parametrize("clock", ["wall", "data"])
def test_the_watermark_survives_as_plain_data(clock):
    mark, again = Watermark(clock=clock), Watermark(clock=clock)
    mark.add("pi-1", 100 * NS, 100 * NS)
    mark.set_online("pi-1", online=False)
    mark.watermark_ns(100 * NS)
    again.restore(*json.loads(json.dumps(mark.state())))
    assert mark.state() == again.state()
    assert mark.watermark_ns(100 * NS) == again.watermark_ns(100 * NS)


def test_an_expected_agent_is_waited_for_until_it_counts_as_silent():
    watermark = Watermark(clock="data", silent_s=30, lateness_s=1, expected=["pi-1", "pi-2"])
    assert watermark.watermark_ns(0) is None
    watermark.add("pi-1", 100 * NS, 0)
    assert watermark.watermark_ns(0) == 84 * NS
    watermark.add("pi-1", 110 * NS, 0)
    assert watermark.watermark_ns(0) == 84 * NS
    watermark.add("pi-2", 99 * NS, 0)
    assert watermark.watermark_ns(0) == 98 * NS


@pytest.mark.parametrize("clock", ["wall", "data"])
def test_an_expected_agent_that_never_comes_holds_nothing_back_for_long(clock):
    watermark = Watermark(clock=clock, silent_s=30, lateness_s=1, expected=["pi-2"])
    watermark.add("pi-1", 100 * NS, 0)
    assert watermark.watermark_ns(5 * NS) == 84 * NS
    assert watermark.watermark_ns(6 * NS) == 99 * NS


def test_an_expected_agent_that_said_it_is_offline_is_not_waited_for():
    watermark = Watermark(lateness_s=1, expected=["pi-2", "pi-3"])
    for name in ("pi-2", "pi-3"):
        watermark.set_online(name, online=False)
    watermark.set_online("pi-3", online=True)
    watermark.add("pi-1", 100 * NS, 0)
    watermark.add("pi-3", 97 * NS, 0)
    assert watermark.watermark_ns(0) == 96 * NS


def test_what_is_not_complete_counts_when_its_siblings_had_time_to_come():
    watermark = Watermark(clock="data", lateness_s=1)
    watermark.add("pi-1", 100 * NS, 0, is_complete=False)
    assert watermark.watermark_ns(NS // 4) <= 94 * NS
    watermark.add("pi-1", 98 * NS, NS // 4, is_complete=False)
    assert watermark.watermark_ns(NS // 2) == 99 * NS
    for at in range(1000):
        watermark.add("pi-1", (101 + at) * NS, NS + at, is_complete=False)
    assert watermark.watermark_ns(NS) == 99 * NS
    assert watermark.watermark_ns(2 * NS) == 1099 * NS


def test_silence_does_not_count_while_nobody_can_be_heard():
    watermark = Watermark(silent_s=10, lateness_s=0)
    watermark.add("pi-1", 100 * NS, 100 * NS)
    watermark.excuse(500 * NS)
    assert watermark.watermark_ns(510 * NS) == 100 * NS
    assert watermark.watermark_ns(511 * NS) == 501 * NS


def test_a_silent_agent_does_not_hold_back_on_the_data_clock_either():
    watermark = Watermark(clock="data", silent_s=30, lateness_s=1)
    watermark.add("pi-1", 100 * NS, 0)
    watermark.add("pi-2", 95 * NS, 0)
    watermark.add("pi-1", 101 * NS, 31 * NS)
    assert watermark.watermark_ns(30 * NS) == 94 * NS
    assert watermark.watermark_ns(31 * NS) == 100 * NS
