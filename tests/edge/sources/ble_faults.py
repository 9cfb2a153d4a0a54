"""Seconds to notice and to recover on the real clock: ``python -m tests.edge.sources.ble_faults``.

The default watchdog of 15 s, five beacons that advertise once a second; from the moment
of the fault. Bluetoothd is restarted here as soon as the health asks for it.
"""

import asyncio
import json
import os
import time

from tests.edge.agents import until
from tests.edge.sources.bluez_rig import open_bus, running
from tests.edge.sources.test_ble import Advertising


async def measure(bus, cure):
    async with running(bus) as rig, Advertising(rig, every_s=1.0, senders=5):
        await until(lambda: len(rig.source._watchdog._regulars) == 5, 30)
        rig.stand_in.deafen("hci0", until=cure)
        began_s = time.monotonic()
        found = {"heals_by": cure}
        await until(lambda: rig.health["steps"]["scan_restart"], 30)
        found["noticed_s"] = round(time.monotonic() - began_s, 2)
        if cure == "service":
            await until(lambda: "wants" in rig.health, 60)
            found["restart_wanted_s"] = round(time.monotonic() - began_s, 2)
            await rig.stand_in.stop_service()
            await rig.stand_in.start_service()
        heard = rig.health["packets"]
        await until(lambda: rig.health["packets"] > heard, 60)
        found["heard_again_s"] = round(time.monotonic() - began_s, 2)
        return found | {"steps": rig.health["steps"]}


def main():
    with open_bus() as bus:
        os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = bus.address
        for cure in ("scan", "power", "service"):
            print(json.dumps(asyncio.run(measure(bus, cure))))


if __name__ == "__main__":
    main()
