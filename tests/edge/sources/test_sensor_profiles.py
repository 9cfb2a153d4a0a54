"""Every shelf sensor of the shop: its own bytes, its table of edge.toml, grams or millimetres."""

import pytest

from edge.measurement import Sample
from edge.settings import read_settings
from edge.sources.ble_adverts import Packet
from edge.sources.source import make_source
from tests.edge.agents import T0

HEAD = 'store = "demo"\nagent = "pi-1"\nstate_dir = "state"\nidentity = "raw"\n'
SERIAL = '[[source]]\nkind = "serial"\n[[source.port]]\npath = "port"\nprofile = "{profile}"\n'
PLATE = 'sensor = "plate-1"\n'
CELL = PLATE + "counts_per_g = 420.5\ntare_g = 100.0\n"
POLL = '[[source.port.poll]]\nsensor = "plate-1"\n'
AIR = (
    '[[source]]\nkind = "ble"\nreceiver = "rx-1"\n'
    '[[source.sensor]]\naddress = "a4:c1:38:8d:18:b2"\nsensor = "plate-1"\n'
)
MASS, RANGE = "mass_g", "range_mm"


def lines(text):
    return text.encode("ascii").hex()


# profile, the rest of its table, bytes, what is measured
SERIAL_SENSORS = [
    # 149422 counts / 420.5 - 100 g (the frame of the profile's own test)
    ("hx711_bridge", CELL, "a55a010247aef7", {MASS: 255.344}),
    # 0x7FFFFF is saturation: no weight
    ("hx711_bridge", CELL, "a55a017fffff7d", {}),
    ("mt_sics", PLATE, lines("S S     640.50 g\r\n"), {MASS: 640.5}),
    ("mt_sics", PLATE + "tare_g = 40.5", lines("S D      0.640 kg\r\n"), {MASS: 599.5}),
    ("mt_sics", PLATE, lines("S S    1500.00 mg\r\n"), {MASS: 1.5}),
    ("mt_sics", PLATE, lines("S +\r\n"), {}),
    ("aandd", PLATE, lines("ST,+001234.5  g\r\n"), {MASS: 1234.5}),
    ("aandd", PLATE + "tare_g = -16.04", lines("US,-00183.96  g\r\n"), {MASS: -167.92}),
    ("aandd", PLATE, lines("ST,+0001.234 kg\r\n"), {MASS: 1234.0}),
    ("aandd", PLATE, lines("OL,+999999.9  g\r\n"), {}),
    ("st_gs_ascii", PLATE, lines("ST,GS,+0012.345kg\r\n"), {MASS: 12345.0}),
    ("st_gs_ascii", PLATE, lines("US,NT,-   0.250,kg\r\n"), {MASS: -250.0}),
    # 32 bits, -250 counts at 2 counts per gram, less 5 g
    (
        "modbus_rtu_load_cell",
        POLL + 'word_order = "little"\ncounts_per_g = 2.0\ntare_g = 5.0',
        "010304ff06ffff2b96",
        {MASS: -130.0},
    ),
    (
        "modbus_rtu_load_cell",
        POLL + "count = 1\ncounts_per_mm = 0.5",
        "01030200017984",
        {RANGE: 2.0},
    ),
    ("tfmini_s", PLATE, "59595500b004fc08bf", {RANGE: 850}),
    # a saturated echo has no distance
    ("tfmini_s", PLATE, "5959fefffffff008a5", {}),
    ("gy53_vl53l0x", PLATE, "5a5a150301640233", {RANGE: 356}),
    ("hlk_ld2410", PLATE, "f4f3f2f10d0002aa0151003c4e00644b005500f8f7f6f5", {RANGE: 810}),
    ("hlk_ld2410", PLATE, "f4f3f2f10d0002aa0251003c4e00644b005500f8f7f6f5", {RANGE: 780}),
    ("hlk_ld2410", PLATE, "f4f3f2f10d0002aa0351003c4e00644b005500f8f7f6f5", {RANGE: 780}),
    ("hlk_ld2410", PLATE, "f4f3f2f10d0002aa0051003c4e00644b005500f8f7f6f5", {}),
    (
        "hlk_ld2410",
        PLATE,
        "f4f3f2f1230001aa031e003c000039000008083c2205030304030605000039100d150609078a015500f8f7f6f5",
        {RANGE: 300},
    ),
]
# the rest of the table, service data or manufacturer data, what is measured
BTHOME, MINEW = 0xFCD2, 0x0639
AIR_SENSORS = [
    ("tare_g = 70.0", BTHOME, "40068900", {MASS: 1300.0}),
    ("", BTHOME, "40065e1f", {MASS: 80_300.0}),
    ("", BTHOME, "40070100", {MASS: 4.535924}),
    ('value = "count"\ngrams_per_count = 1.0', BTHOME, "403d8002", {MASS: 640.0}),
    ('value = "count"\ngrams_per_count = 0.1\ntare_g = 1.0', BTHOME, "405a9cff", {MASS: -11.0}),
    ('value = "range"', BTHOME, "40400c00", {RANGE: 12}),
    ('value = "range"', BTHOME, "40411900", {RANGE: 2500.0}),
    ("", BTHOME, "400161", {}),
    (
        'value = "range"',
        MINEW,
        "ca1e0064f4010f450700000000000000000000001234abcd",
        {RANGE: 500},
    ),
    ('value = "range"', MINEW, "ca006745233123ac6421870000000000000000001234abcd", {}),
]


def source_of(folder, table):
    (folder / "edge.toml").write_text(HEAD + table, encoding="utf-8")
    (found,) = read_settings(folder / "edge.toml").source
    return make_source(found, subject="x", base=folder, now_ns=lambda: T0)


def expected(values):
    return [Sample(T0, "plate-1", values.get(MASS), values.get(RANGE))] if values else []


def about(samples):
    """Round as a store file cannot tell apart."""
    return [
        sample._replace(mass_g=None if sample.mass_g is None else round(sample.mass_g, 3))
        for sample in samples
    ]


@pytest.mark.parametrize(("profile", "rest", "data", "values"), SERIAL_SENSORS)
def test_a_sensor_on_a_line_measures_as_edge_toml_says(tmp_path, profile, rest, data, values):
    source = source_of(tmp_path, SERIAL.format(profile=profile) + rest)
    device = source._ports[0]._device
    if "poll" in rest:
        device.expect(0, lambda _fields: True)
    found = device.feed(bytes.fromhex(data), T0, 0.0)[0] + device.finish(T0, 1.0)[0]
    assert about(expected(values)) == about(found)
    assert device.counts["frames"] == 1


@pytest.mark.parametrize(("rest", "sender", "data", "values"), AIR_SENSORS)
def test_a_sensor_over_the_air_measures_as_edge_toml_says(tmp_path, rest, sender, data, values):
    source = source_of(tmp_path, AIR + rest)
    body = bytes.fromhex(data)
    companies = {sender: body} if sender == MINEW else {}
    services = {f"0000{sender:04x}-0000-1000-8000-00805f9b34fb": body} if not companies else {}
    address = "A4:C1:38:8D:18:B2"
    source._queue.append(
        Packet(T0, 0.0, -60, address, "public", companies, services, (), None, None, b"\x06")
    )
    assert about(expected(values)) == about(source._measured(1))
    assert source.dropped == ({} if values else {"no_value": 1})
