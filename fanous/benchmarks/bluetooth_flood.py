"""New addresses at a rate, and what they cost a source in a process of its own.

Rules of the file: half of the addresses are phones, half are beacons with an identity that
is new each time. The source's process prints its memory and counters each half second; the
most memory is what the kernel says it was (``VmHWM``), not what was seen.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edge.measurement import Measurement
from edge.sources.ble import BleSource
from edge.sources.ble_settings import BleSettings
from fanous.benchmarks.bluetooth_rig import address, beacon, until
from fanous.benchmarks.process_facts import memory_mb
from simulators.bluez import BluezStandIn

NEARBY = bytes.fromhex("02011a07ff4c001002440c")
WARM_FIRST, FIRST = 10, 100_000
_TELL_S, _SETTLE_S = 0.5, 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Flooded:
    """What a flood did: memory in MB = 10⁶ bytes, CPU in microseconds a packet."""

    addresses: int
    heard: int
    before_mb: float
    most_mb: float
    cpu_us: float
    last: dict[str, Any]


async def flood(
    stand_in: BluezStandIn, *, rate_per_s: float, seconds: float, first: int = FIRST
) -> None:
    """Let every advert come from an address that was never seen.

    Parameters
    ----------
    stand_in : whose adapter hci0 hears them
    rate_per_s : [1/s]
    seconds : [s]
    first : number of the first
    """
    loop = asyncio.get_running_loop()
    begin_s = loop.time()
    for number in range(first, first + int(rate_per_s * seconds)):
        data = beacon(number % 65536, major=number // 65536) if number % 2 else NEARBY
        await stand_in.advertise("hci0", address(number, first=0x4A), -70, data, kind="random")
        due_s = begin_s + (number - first) / rate_per_s
        if due_s > loop.time():
            await asyncio.sleep(due_s - loop.time())


async def listen() -> None:
    """Run the source alone and print its memory and counters for ever."""
    source = BleSource(BleSettings(receiver="rx-1"), now_ns=time.time_ns)

    async def emit(measurements: Sequence[Measurement]) -> None:
        del measurements

    async with asyncio.TaskGroup() as group:
        group.create_task(source.run(emit), name="source")
        while True:
            memory = {name: memory_mb("self", name) for name in ("VmRSS", "VmHWM")}
            told = {**memory, "cpu_s": time.process_time(), **source.health()}
            print(json.dumps(told), flush=True)
            await asyncio.sleep(_TELL_S)


async def measure_flood(
    bus_address: str,
    *,
    rate_per_s: float,
    seconds: float,
    refuses: bool = False,
) -> Flooded:
    """Flood a source and measure its process.

    Parameters
    ----------
    bus_address : of a private bus that nobody else uses
    rate_per_s : [1/s] new addresses
    seconds : [s]
    refuses : BlueZ refuses to forget devices
    """
    stand_in = BluezStandIn(bus_address)
    stand_in.refuses_removal = refuses
    await stand_in.start_service()
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "fanous.benchmarks.bluetooth_flood"),
        env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": bus_address},
        stdout=asyncio.subprocess.PIPE,
    )
    told: list[dict[str, Any]] = []
    reader = asyncio.create_task(_read(child, told), name="listener")
    try:
        await until(lambda: told and told[-1]["radio"] == "scanning", 30.0)
        before_mb = told[-1]["VmRSS"]
        # What the first packets load into the process is no growth by addresses.
        await flood(stand_in, rate_per_s=rate_per_s, seconds=0.2, first=WARM_FIRST)
        await _told_again(told)
        warm = told[-1]
        await flood(stand_in, rate_per_s=rate_per_s, seconds=seconds)
        await asyncio.sleep(_SETTLE_S)
        await _told_again(told)
        last = told[-1]
    finally:
        if child.returncode is None:
            child.terminate()
        await child.wait()
        await reader
        await stand_in.stop_service()
    heard = last["packets"] - warm["packets"]
    return Flooded(
        addresses=int(rate_per_s * seconds),
        heard=heard,
        before_mb=before_mb,
        most_mb=last["VmHWM"],
        cpu_us=(last["cpu_s"] - warm["cpu_s"]) / max(1, heard) * 1e6,
        last=last,
    )


async def _told_again(told: list[dict[str, Any]]) -> None:
    seen = len(told)
    await until(lambda: len(told) >= seen + 2)


async def _read(child: asyncio.subprocess.Process, told: list[dict[str, Any]]) -> None:
    assert child.stdout is not None
    while line := await child.stdout.readline():
        told.append(json.loads(line))


if __name__ == "__main__":
    asyncio.run(listen())
