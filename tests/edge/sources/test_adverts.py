"""What adverts are to the shop: presses, sensors, keys, strangers."""

import tracemalloc

import pytest

from edge.measurement import Reading, Sample, Tap
from edge.sources.advert_sensors import SensorSettings
from edge.sources.adverts import Adverts, Ear, Heard
from edge.sources.repeats import Repeats
from edge.sources.strangers import Strangers
from firmware_profiles.advert import build_advert
from firmware_profiles.crypto import MIC_BYTES
from firmware_profiles.registry import load_registry

REGISTRY = load_registry()
BUTTON, SCALE, TOF = "a4:c1:38:8d:18:b2", "54:48:e6:8f:80:a5", "ac:23:31:23:45:67"
KEY = bytes.fromhex("231d39c1d7cc1ab1aee224cd096db932")
S = 1_000_000_000
TAG = "ble:a4c1388d18b2"
HELP = Ear("rx-1", "help-1", -65.0)


def bthome(objects, info=0x40):
    return build_advert((0x16, b"\xd2\xfc" + bytes((info,)) + bytes.fromhex(objects)))


def pressed(packet_id=None, event="01"):
    return bthome(f"{'' if packet_id is None else f'00{packet_id:02x}'}3a{event}")


def sealed(counter, objects="3a01", address=BUTTON, key=KEY):
    """Seal objects as BTHome says; the vectors of the profile prove the other way."""
    from cryptography.hazmat.primitives.ciphers.aead import AESCCM

    mac, count = bytes.fromhex(address.replace(":", "")), counter.to_bytes(4, "little")
    nonce = mac + b"\xd2\xfc\x41" + count
    box = AESCCM(key, tag_length=MIC_BYTES).encrypt(nonce, bytes.fromhex(objects), None)
    payload = b"\xd2\xfc\x41" + box[:-MIC_BYTES] + count + box[-MIC_BYTES:]
    return build_advert((0x16, payload))


def adverts(**more):
    return Adverts(REGISTRY, cached_max=64, **more)


def hear(heard_by, data, at_s=0.0, *, ear=HELP, address=BUTTON, rssi=-60.0, **more):
    t_ns = round(at_s * S)
    return heard_by.measured(Heard(t_ns, t_ns, rssi, data, address, **{"lasts": True, **more}), ear)


def taps(found):
    return [one for one in found if isinstance(one, Tap)]


def test_a_press_is_a_reading_and_a_tap_and_its_repetitions_are_readings():
    heard = adverts()
    assert hear(heard, pressed(7)) == [Reading(0, "rx-1", TAG, -60.0), Tap(0, "help-1", TAG)]
    for n in range(1, 50):
        assert hear(heard, pressed(7), n / 10) == [Reading(n * S // 10, "rx-1", TAG, -60.0)]
    assert taps(hear(heard, pressed(8), 5.0)) == [Tap(5 * S, "help-1", TAG)]
    assert (heard.counts["taps"], heard.counts["taps_held"]) == (2, 49)


@pytest.mark.parametrize("event", ["01", "02", "03", "04"])
def test_single_double_triple_and_long_presses_are_one_tap_each(event):
    assert len(taps(hear(adverts(), pressed(7, event)))) == 1


@pytest.mark.parametrize("event", ["00", "80", "81"])
def test_no_press_a_hold_and_its_end_are_no_taps(event):
    assert taps(hear(adverts(), pressed(7, event))) == []


def test_a_button_without_packet_ids_must_be_silent_for_the_hold_off():
    heard = adverts(tap_hold_off_s=2.0)
    found = [bool(taps(hear(heard, pressed(), at_s))) for at_s in (0, 0.5, 1.9, 3.8, 5.9)]
    assert found == [True, False, False, False, True]


def test_a_packet_id_that_comes_round_is_new():
    heard = adverts()
    assert taps(hear(heard, pressed(7)))
    assert not taps(hear(heard, pressed(7), 59.0))
    assert taps(hear(heard, pressed(7), 59.0 + 61.0))


def test_a_press_too_far_away_is_none_and_does_not_use_up_the_near_one():
    heard = adverts()
    assert hear(heard, pressed(7), rssi=-66.0) == [Reading(0, "rx-1", TAG, -66.0)]
    assert taps(hear(heard, pressed(7), 0.1, rssi=-65.0))
    assert heard.counts["taps_far"] == 1


def test_what_is_only_remembered_of_an_earlier_packet_is_no_press():
    heard = adverts()
    assert hear(heard, pressed(7), is_fresh=False) == [Reading(0, "rx-1", TAG, -60.0)]
    assert heard.counts["taps_stale"] == 1
    assert taps(hear(heard, pressed(7), 0.1))
    assert not taps(hear(heard, pressed(7), 100.0, is_fresh=False))
    assert heard.counts["taps_stale"] == 2


def test_a_press_told_once_from_afar_is_a_tap_when_it_comes_near_soon():
    """As in a passive scan, where data that did not change are not told again."""
    for at_s, expected in ((2.9, [1, 0]), (3.1, [0, 0])):
        heard = adverts()
        assert not taps(hear(heard, pressed(7), rssi=-80.0))
        found = [len(taps(hear(heard, pressed(7), at_s, is_fresh=False))) for _ in range(2)]
        assert found == expected


def test_a_radio_that_is_no_tap_point_makes_readings_only():
    assert hear(adverts(), pressed(7), ear=Ear("rx-1")) == [Reading(0, "rx-1", TAG, -60.0)]


def test_an_address_that_changes_taps_only_under_the_name_of_its_owner():
    heard, address = adverts(), "70:81:94:0d:fb:aa"
    assert hear(heard, pressed(7), address=address, lasts=False) == []
    assert heard.dropped == {"no_tag": 1}
    found = hear(heard, pressed(8), address=address, lasts=False, name="name:band-7")
    assert found == [Reading(0, "rx-1", "name:band-7", -60.0), Tap(0, "help-1", "name:band-7")]


SENSORS = (
    SensorSettings(address=SCALE, sensor="plate-1", tare_g=100.0),
    SensorSettings(address=SCALE, sensor="plate-2", value="count", grams_per_count=0.5),
    SensorSettings(address=TOF.upper(), sensor="range-1", value="range"),
)


@pytest.mark.parametrize(
    ("address", "data", "expected"),
    [
        (SCALE, bthome("06e803"), [Sample(0, "plate-1", 9900.0)]),
        (SCALE, bthome("07e803"), [Sample(0, "plate-1", 4435.9237)]),
        (SCALE, bthome("3d2c01"), [Sample(0, "plate-2", 150.0)]),
        (SCALE, bthome("5af6ff"), [Sample(0, "plate-2", -5.0)]),
        (
            SCALE,
            bthome("06e8033d2c01"),
            [Sample(0, "plate-1", 9900.0), Sample(0, "plate-2", 150.0)],
        ),
        (TOF, bthome("40f401"), [Sample(0, "range-1", None, 500)]),
        (TOF, bthome("410500"), [Sample(0, "range-1", None, 500.0)]),
    ],
)
def test_a_sensor_over_the_air_gives_samples_and_is_nobody(address, data, expected):
    heard = adverts(sensors=SENSORS)
    for more in ({}, {"name": "name:x"}, {"lasts": False}):
        fresh = adverts(sensors=SENSORS)
        assert hear(fresh, data, address=address, **more) == expected
    assert hear(heard, data, address="c4:00:00:00:00:01") != expected


def test_a_sensor_that_says_something_else_or_nothing_is_counted():
    heard = adverts(sensors=SENSORS)
    assert hear(heard, bthome("0161"), address=SCALE) == []
    assert hear(heard, pressed(1), address=SCALE) == []
    assert hear(heard, b"\x02\x01\x06", address=SCALE) == []
    assert heard.dropped == {"no_value": 2, "no_tag": 1}


def test_a_packet_of_a_sensor_heard_again_is_one_sample():
    heard = adverts(sensors=SENSORS)
    first, second = bthome("000106e803"), bthome("000206e803")
    found = [len(hear(heard, data, address=SCALE)) for data in (first, first, second, second)]
    assert found == [1, 0, 1, 0]
    # Without a packet id each packet counts: a plate that is alive says the same for hours.
    assert [len(hear(heard, bthome("06e803"), address=SCALE)) for _ in range(3)] == [1, 1, 1]
    assert (heard.counts["samples"], heard.counts["samples_held"]) == (5, 2)


def test_an_encrypted_press_counts_with_its_key_and_its_counter_must_rise():
    heard = adverts(keys={BUTTON: KEY})
    counters = [5000, 5000, 5001, 4999, 5000, 5002, 7, 8]
    found = [hear(heard, sealed(counter), n) for n, counter in enumerate(counters)]
    assert [len(taps(one)) for one in found] == [1, 0, 1, 0, 0, 1, 1, 1]
    assert [len(one) for one in found] == [2, 1, 2, 0, 0, 2, 2, 2]
    assert heard.dropped == {"replayed": 2}


def test_who_has_a_key_must_encrypt():
    heard = adverts(keys={BUTTON: KEY})
    assert hear(heard, pressed(7)) == []
    assert hear(heard, pressed(7), address=SCALE) != []
    assert heard.dropped == {"downgraded": 1}


def test_an_unknown_and_a_wrong_key_are_told_apart():
    heard = adverts(keys={BUTTON: bytes(16)})
    assert hear(heard, sealed(5000)) == []
    assert hear(heard, sealed(5000, address=SCALE), address=SCALE) == []
    assert heard.dropped == {"not_authentic": 1, "no_key": 1}
    assert heard.strangers.most() == {}


def test_an_encrypted_sensor_gives_samples():
    heard = adverts(keys={SCALE: KEY}, sensors=SENSORS)
    data = sealed(300, "06e803", address=SCALE)
    assert hear(heard, data, address=SCALE) == [Sample(0, "plate-1", 9900.0)]
    assert hear(heard, data, address=SCALE) == []
    assert hear(heard, sealed(299, "06e803", address=SCALE), address=SCALE) == []
    assert hear(heard, bthome("06e803"), address=SCALE) == []
    assert heard.dropped == {"replayed": 1, "downgraded": 1}


def test_mibeacon_is_opened_by_address():
    (test,) = [
        test
        for test in REGISTRY.profiles["mibeacon"].table["test"]
        if "key_hex" in test and not test.get("reject")
    ]
    data, address = bytes.fromhex(test["hex"]), test["address"].lower()
    sensor = SensorSettings(address=address, sensor="s")
    heard = adverts(keys={address: bytes.fromhex(test["key_hex"])}, sensors=[sensor])
    assert test["expect"] == heard.meaning(data, address).found.fields
    assert adverts().meaning(data, address).reason == "no_key"


def test_who_no_profile_understands_is_counted_by_number_and_not_by_address():
    heard = adverts()
    for number in range(3):
        hear(heard, build_advert((0xFF, b"\x34\x12\x01")), address=f"c4:00:00:00:00:0{number}")
    hear(heard, build_advert((0x16, b"\xaa\xfe\x77"), (0xFF, b"\x34\x12\x01")))
    hear(heard, b"\x02\x01\x06")
    hear(heard, b"\x1a\xff\x4c\x00\x02")
    hear(heard, bytes.fromhex("02011a07ff4c001002440c"))  # understood: a phone
    assert heard.health()["unknown"] == {"company:1234": 4, "nameless": 2, "service:feaa": 1}
    assert heard.dropped == {"no_tag": 7}


def test_strangers_are_bounded_and_a_flood_does_not_push_out_the_regular_ones():
    strangers = Strangers(kept=8)
    for n in range(10_000):
        strangers.count((f"company:{n:04x}",))
        if n % 3 == 0:
            strangers.count(("company:regular",))
    found = strangers.most(4)
    assert len(strangers._counts) == 8
    assert len(found) == 5
    assert next(iter(found.items())) == ("company:regular", 3334)
    assert sum(found.values()) == 13_334
    assert found["other"] == 13_334 - 3334 - 3


def test_memory_of_presses_is_bounded():
    repeats = Repeats(2.0, capacity=10)
    for n in range(1000):
        assert repeats.admits(f"ble:{n}", None, 0)
    assert len(repeats._last) == 10


def test_what_is_remembered_of_adverts_is_small():
    """Under a flood the memory is full of strangers' beacons: 1 kB each were 4 MB."""
    heard = Adverts(REGISTRY, cached_max=1000)
    uuid = bytes.fromhex("b9407f30f5f8466eaff925556b57fe6d")
    datas = [
        build_advert((0xFF, b"\x4c\x00\x02\x15" + uuid + n.to_bytes(4, "big") + b"\xc5"))
        for n in range(1000)
    ]
    tracemalloc.start()
    for data in datas:
        heard.meaning(data, None)
    used_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert heard.meaning.cache_info().currsize == 1000
    assert used_bytes / 1000 < 600
