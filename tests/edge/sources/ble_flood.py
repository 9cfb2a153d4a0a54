"""New addresses at a rate, and what they cost: ``python -m tests.edge.sources.ble_flood``.

The source runs in a process of its own against the stand-in here, as in a shop; half of
the addresses are phones, half are beacons with an identity that is new each time.
"""

import argparse
import asyncio
import json
import os
import sys
import time

from tests.edge.agents import until
from tests.edge.sources.bluez_rig import address, beacon

NEARBY = bytes.fromhex("02011a07ff4c001002440c")


async def flood(stand_in, *, rate_per_s, seconds, first=1000):
    """Let every advert come from an address that was never seen."""
    loop = asyncio.get_running_loop()
    begin_s = loop.time()
    for number in range(first, first + int(rate_per_s * seconds)):
        data = beacon(number % 65536, major=number // 65536) if number % 2 else NEARBY
        await stand_in.advertise("hci0", address(number, first=0x4A), -70, data, kind="random")
        due_s = begin_s + (number - first) / rate_per_s
        if due_s > loop.time():
            await asyncio.sleep(due_s - loop.time())


def resident_mb():
    with open("/proc/self/status", encoding="ascii") as file:
        line = next(line for line in file if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


async def listen():
    """Run the source alone and print its memory and counters each half second."""
    from edge.sources.ble import BleSettings, BleSource

    source = BleSource(BleSettings(receiver="rx-1"), now_ns=time.time_ns)

    async def emit(measurements):
        del measurements

    async with asyncio.TaskGroup() as group:
        group.create_task(source.run(emit))
        while True:
            health = source.health()
            used = time.process_time()
            print(json.dumps({"mb": resident_mb(), "cpu_s": used, **health}), flush=True)
            await asyncio.sleep(0.5)


async def measure(rate_per_s, seconds, *, refuses):
    from simulators.bluez import BluezStandIn
    from simulators.private_bus import PrivateBus

    with PrivateBus() as bus:
        stand_in = BluezStandIn(bus.address)
        stand_in.refuses_removal = refuses
        await stand_in.start_service()
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.edge.sources.ble_flood",
            "--listen",
            env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": bus.address},
            stdout=asyncio.subprocess.PIPE,
        )
        lines = []

        async def read():
            while line := await child.stdout.readline():
                lines.append(json.loads(line))

        reader = asyncio.create_task(read())
        await until(lambda: lines and lines[-1]["radio"] == "scanning")
        await flood(stand_in, rate_per_s=rate_per_s, seconds=2, first=10)  # warm
        before = lines[-1]
        began_s = time.monotonic()
        await flood(stand_in, rate_per_s=rate_per_s, seconds=seconds)
        took_s = time.monotonic() - began_s
        await asyncio.sleep(2)
        last = lines[-1]
        child.terminate()
        await child.wait()
        await reader
        await stand_in.stop_service()
    return {
        "addresses": int(rate_per_s * seconds),
        "took_s": round(took_s, 1),
        "packets": last["packets"] - before["packets"],
        "before_mb": round(lines[0]["mb"], 1),
        "warm_mb": round(before["mb"], 1),
        "most_mb": round(max(line["mb"] for line in lines), 1),
        "grown_mb": round(max(line["mb"] for line in lines) - lines[0]["mb"], 1),
        "cpu_us_per_packet": round(
            (last["cpu_s"] - before["cpu_s"]) / (last["packets"] - before["packets"]) * 1e6, 1
        ),
        "dropped": last["dropped"],
        "forgotten": last["devices_forgotten"],
        "refused": last["forget_refused"],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", action="store_true", help="be the source's process")
    parser.add_argument("--rate", type=float, default=1000, help="new addresses a second")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--refuse", action="store_true", help="BlueZ refuses to forget devices")
    args = parser.parse_args()
    if args.listen:
        asyncio.run(listen())
    else:
        print(json.dumps(asyncio.run(measure(args.rate, args.seconds, refuses=args.refuse))))


if __name__ == "__main__":
    main()
