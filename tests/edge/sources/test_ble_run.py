"""An unmodified `fanous edge run`: from the bus to the broker."""

import asyncio
import json
import os
import signal
import sys

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from fanous.benchmarks.bluetooth_rig import address, beacon, beacon_tag
from ingest.columns import decode_batch
from ingest.identifiers import pseudonym
from ingest.topics import agents_filter
from simulators.bluez import BluezStandIn
from tests.edge.agents import KEY, until
from tests.edge.sources.bluez_rig import open_bus
from tests.system.servers import mosquitto

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("mosquitto")]
CONFIG = """
store = "demo"
agent = "pi-1"
state_dir = "state"
pseudonym_key_file = "fanous.key"
[mqtt]
url = "mqtt://127.0.0.1:{port}"
[[source]]
kind = "ble"
receiver = "rx-1"
[[source]]
kind = "ble"
name = "second"
adapter = "hci1"
receiver = "rx-2"
"""


def test_adverts_on_two_adapters_arrive_at_the_broker_as_pseudonyms(tmp_path):
    (tmp_path / "fanous.key").write_bytes(KEY)
    config = tmp_path / "edge.toml"
    with mosquitto(tmp_path) as server, open_bus() as bus:
        config.write_text(CONFIG.format(port=server.port), encoding="utf-8")
        batches, statuses = [], []

        def receive(client, _user, message):
            if message.topic.endswith("status"):
                statuses.append(json.loads(message.payload))
            else:
                batches.append(decode_batch(message.payload))

        def subscribe(client, *_more):
            for leaf in ("readings", "status"):
                client.subscribe(agents_filter("demo", leaf), 1)

        client = paho.Client(CallbackAPIVersion.VERSION2)
        client.on_connect, client.on_message = subscribe, receive
        client.connect("127.0.0.1", server.port)
        client.loop_start()

        def rows():
            return {
                (receiver, batch.tag.values[code], float(rssi))
                for batch in list(batches)
                for receiver, code, rssi in zip(
                    [batch.receiver.values[c] for c in batch.receiver.codes],
                    batch.tag.codes,
                    batch.rssi_dbm,
                    strict=True,
                )
            }

        async def work():
            stand_in = BluezStandIn(bus.address, adapters=("hci0", "hci1"))
            await stand_in.start_service()
            program = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "fanous", "edge", "run", "-c", str(config), "--json"),
                env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": bus.address},
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            try:
                await until(lambda: all(a.scans for a in stand_in.adapters.values()), 30)
                await stand_in.advertise("hci0", address(1), -60, beacon(1))
                await stand_in.advertise("hci1", address(1), -72, beacon(1))
                # A phone: heard, and nobody.
                nearby = bytes.fromhex("02011a07ff4c001002440c")
                await stand_in.advertise("hci0", "4A:00:00:00:00:01", -50, nearby, kind="random")
                name = pseudonym(beacon_tag(1), KEY)
                await until(lambda: len(rows()) >= 2, 30)
                assert rows() == {("rx-1", name, -60.0), ("rx-2", name, -72.0)}
            finally:
                program.send_signal(signal.SIGTERM)
                out, said = await asyncio.wait_for(program.communicate(), 10)
                await stand_in.stop_service()
            assert program.returncode == 0
            health = json.loads(out)
            assert health["sources"][0]["packets"] == 2
            assert health["sources"][0]["dropped"] == {"no_tag": 1}
            for raw in (beacon_tag(1), address(1), "4A:00:00:00:00:01"):
                assert raw not in said.decode()
                assert raw not in out.decode()
            assert b"Traceback" not in said

        try:
            asyncio.run(work())
        finally:
            client.disconnect()
            client.loop_stop()
    assert {status["state"] for status in statuses} >= {"online"}
