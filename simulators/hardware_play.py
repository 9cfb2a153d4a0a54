"""Playing a simulation on virtual devices, at the pace of a clock.

Rules of the file: time is played in slices. What belongs to a slice is sent at its end,
never before it happened. `StoreClock` shows the end of the slice that is being played, so
whoever stamps on arrival by it is off by less than a slice, however busy the machine is,
as long as `arrived` is awaited; a machine that cannot keep up makes the shop slower and
nothing else. Who reads the machine's own clock sees bytes as late as the machine is.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from simulators.chunk import Chunk
from simulators.hardware import Devices
from simulators.hardware_bytes import packets_of

SLICE_S = 0.005
"""[s] of wall time."""
LATE_S = 1.0
"""[s] Who is behind by more, as after a sleep of the machine, does not make up for it."""


class StoreClock:
    """The time in a simulated shop: how far it has been played.

    Parameters
    ----------
    t_ns : [ns since 1970, UTC] where it starts
    """

    def __init__(self, t_ns: int) -> None:
        self._t_ns = t_ns

    def now_ns(self) -> int:
        """Return the time."""
        return self._t_ns

    def set(self, t_ns: int) -> None:
        """Set it forward.

        Parameters
        ----------
        t_ns : [ns since 1970, UTC] not before what it shows
        """
        self._t_ns = max(self._t_ns, t_ns)


async def play(
    chunks: Iterable[Chunk],
    devices: Devices,
    clock: StoreClock,
    *,
    speed: float,
    on_chunk: Callable[[Chunk], None] = lambda _chunk: None,
    arrived: Callable[[], Awaitable[None]] | None = None,
    stop: asyncio.Event | None = None,
) -> float:
    """Play all chunks, or until told to stop.

    Cancelled in the middle of a packet this would not know whether it was heard: use `stop`.

    Parameters
    ----------
    chunks : the simulation
    devices : on which
    clock : is set
    speed : store seconds in a second of the wall
    on_chunk : told of each chunk before it is played
    arrived : waits until what was sent has come where it is stamped; None = nobody waits
    stop : set it to end with the slice that is being played

    Returns
    -------
    paused_s : [s] of wall time by which the shop stood still because this was late
    """
    loop = asyncio.get_running_loop()
    slice_ns = round(SLICE_S * speed * 1e9)
    began_s, begin_ns, paused_s = loop.time(), clock.now_ns(), 0.0
    for chunk in chunks:
        on_chunk(chunk)
        await devices.pass_second()
        packets = iter(packets_of(chunk))
        packet = next(packets, None)
        ends = [*range(chunk.start_ns + slice_ns, chunk.end_ns, slice_ns), chunk.end_ns]
        for end_ns in ends:
            if stop is not None and stop.is_set():
                return paused_s
            ahead_s = began_s + paused_s + (end_ns - begin_ns) / 1e9 / speed - loop.time()
            if ahead_s < -LATE_S:
                paused_s -= ahead_s
            await asyncio.sleep(max(0.0, ahead_s))
            clock.set(end_ns)
            while packet is not None and packet.t_ns < end_ns:
                await devices.send(packet)
                packet = next(packets, None)
            if arrived is not None:
                await arrived()
    return paused_s
