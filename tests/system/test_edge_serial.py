"""An unmodified `fanous edge run` reads serial devices from pseudo-terminals."""

import json
import signal
import subprocess
import sys
import time

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from ingest.columns import decode_batch
from ingest.identifiers import pseudonym
from ingest.topics import agent_topic
from simulators.serial_ports import ModbusBus, Pn532Reader, SerialPorts
from tests.system.servers import mosquitto, wait_until

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("servers")]

KEY = b"0123456789abcdef0123456789abcdef"
CARD = "em4100:67003b51c6"
CONFIG = """
store = "demo"
agent = "pi-1"
state_dir = "state"
pseudonym_key_file = "key"
[mqtt]
url = "mqtt://127.0.0.1:{port}"
[[source]]
kind = "serial"
[[source.port]]
path = "gate"
profile = "rdm6300"
tap_point = "gate-1"
[[source.port]]
path = "nfc"
profile = "pn532_hsu"
tap_point = "gate-2"
[[source.port]]
path = "cell"
profile = "hx711_bridge"
sensor = "plate-1"
counts_per_g = 420.5
[[source.port]]
path = "range"
profile = "tfmini_s"
sensor = "range-1"
[[source.port]]
path = "bus"
profile = "modbus_rtu_load_cell"
[[source.port.poll]]
sensor = "plate-2"
counts_per_g = 10.0
"""


class Subscriber:
    """Takes batches and acknowledges them, as a gateway does; keeps rows and states."""

    def __init__(self, port):
        self.taps, self.samples, self.states = [], {}, []
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id="fake-gateway")
        self.client.on_message = self.take
        self.client.connect("127.0.0.1", port)
        for leaf in ("taps", "samples", "status"):
            self.client.subscribe(agent_topic("demo", "pi-1", leaf), 1)
        self.client.loop_start()

    def take(self, client, _user, message):
        if message.topic.endswith("/status"):
            self.states.append(json.loads(message.payload))
            return
        batch = decode_batch(message.payload)
        if batch.kind == "tap":
            for where, tag in zip(batch.tap_point.codes, batch.tag.codes, strict=True):
                self.taps.append((batch.tap_point.values[where], batch.tag.values[tag]))
        else:
            values = batch.mass_g if batch.mass_g is not None else batch.range_mm
            for row, code in enumerate(batch.sensor.codes):
                mass_g = None if batch.mass_g is None else float(values[row])
                range_mm = None if batch.range_mm is None else float(batch.range_mm[row])
                self.samples[batch.sensor.values[code]] = (mass_g, range_mm)
        ack = {"boot": batch.boot, "kind": batch.kind, "seq": batch.seq}
        client.publish(agent_topic("demo", "pi-1", "ack"), json.dumps(ack), qos=1)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def rig(tmp_path):
    with mosquitto(tmp_path / "broker") as broker, SerialPorts(tmp_path) as ports:
        subscriber = Subscriber(broker.port)
        (tmp_path / "key").write_bytes(KEY)
        (tmp_path / "edge.toml").write_text(CONFIG.format(port=broker.port), "utf-8")
        yield tmp_path, ports, subscriber
        subscriber.close()


def test_taps_and_samples_of_five_devices_arrive_and_the_agent_stops_at_once(rig):
    folder, ports, subscriber = rig
    bus, reader = ModbusBus(ports.registry), Pn532Reader(ports.registry)
    bus.put(1, 0, 12_345)
    for name in ("gate", "cell", "range"):
        ports.open(name)
    ports.open("bus", bus)
    ports.open("nfc", reader)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "fanous", "edge", "run", "-c", str(folder / "edge.toml")],
            stderr=log,
        )
    try:
        wait_until(lambda: "plate-2" in subscriber.samples, "the bus is polled")
        reader.uid_hex = "04a1b2c3d4e5f6"

        def all_here():
            ports.weigh("cell", "hx711_bridge", 640.0, counts_per_g=420.5)
            ports.weigh("range", "tfmini_s", 850.0)
            return {"plate-1", "plate-2", "range-1"} <= set(subscriber.samples)

        wait_until(all_here, "samples of all sensors")
        for _ in range(5):
            ports.tap("gate", "rdm6300", CARD)
        wait_until(lambda: len(subscriber.taps) == 2, "a tap at each gate")
        began_s = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
        assert time.monotonic() - began_s < 2
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    expected = [("gate-1", pseudonym(CARD, KEY)), ("gate-2", pseudonym("nfc:04a1b2c3d4e5f6", KEY))]
    assert sorted(expected) == sorted(subscriber.taps)
    assert subscriber.samples["plate-2"][0] == 1234.5
    assert subscriber.samples["plate-1"][0] == pytest.approx(640.0, abs=0.01)
    assert subscriber.samples["range-1"][1] == 850.0
    wait_until(lambda: subscriber.states[-1]["state"] == "offline", "the farewell")
    (source,) = subscriber.states[-1]["sources"]
    assert {"closed"} == {port["state"] for port in source["ports"]}
    gate = source["ports"][0]
    assert ("gate", 9600, 5, 4, {}) == tuple(
        gate[key] for key in ("name", "baud", "frames", "held_off", "rejected")
    )
    assert CARD.encode() not in (folder / "log").read_bytes()
