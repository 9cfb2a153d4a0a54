"""Repeats, replays and hold-off."""

from firmware_profiles.decoded import Decoded
from firmware_profiles.dedupe import Deduper

SECOND = 10**9


def packet(number, **more):
    return Decoded("bthome_v2", {"packet_id": number, **more}, "ble:a4c1388d18b2")


def test_the_same_packet_counts_once():
    seen, rule = Deduper(), {"fields": ["packet_id"]}
    admitted = [seen.admits(packet(n), rule, t) for t, n in enumerate((1, 1, 2, 1, 1))]
    assert admitted == [True, False, True, True, False]


def test_messages_without_a_mark_all_count():
    seen, rule = Deduper(), {"fields": ["packet_id"]}
    plain = Decoded("bthome_v2", {"mass_kg": 1.0}, "ble:a4c1388d18b2")
    assert [seen.admits(plain, rule, 0), seen.admits(plain, rule, 0)] == [True, True]


def test_senders_do_not_mix():
    seen, rule = Deduper(), {"fields": ["packet_id"]}
    silent = Decoded("x", {"packet_id": 1})
    assert [seen.admits(silent, rule, 0, sender=s) for s in ("a", "b", "a")] == [True, True, False]


def test_old_counters_are_replays_until_a_restart():
    seen, rule = Deduper(), {"counter": "n"}
    told = [seen.admits(packet(0, n=n), rule, 0) for n in (500, 501, 501, 400, 502, 3, 4, 4)]
    assert told == [True, True, False, False, True, True, True, False]


def test_a_held_card_is_one_tap_until_it_leaves():
    seen, rule = Deduper(), {"hold_off_s": 2.0}
    times = (0, 1, 2, 3, 4, 7)
    told = [seen.admits(packet(0), rule, t * SECOND) for t in times]
    assert told == [True, False, False, False, False, True]


def test_no_rule_admits_everything():
    seen = Deduper()
    assert all(seen.admits(packet(1), {}, 0) for _ in range(3))


def test_memory_is_bounded_and_forgets_the_oldest():
    seen, rule = Deduper(capacity=2), {"fields": ["packet_id"]}
    for sender in "abc":
        seen.admits(Decoded("x", {"packet_id": 1}), rule, 0, sender=sender)
    again = Decoded("x", {"packet_id": 1})
    assert [seen.admits(again, rule, 0, sender=s) for s in "ca"] == [False, True]
    assert len(seen._seen) == 2
