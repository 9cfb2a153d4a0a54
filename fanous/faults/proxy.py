"""A TCP proxy that makes lines bad: slow, late, cut in the middle of a packet, or away.

Rules of the file: asyncio in a thread of its own; what it does is set from outside and
holds from the next chunk on. It buffers at most `CHUNK_BYTES` for each direction, so a
slow reader behind it is felt by the sender.
"""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass

CHUNK_BYTES = 4096


@dataclass(slots=True)
class Manners:
    """How the line behaves.

    Attributes
    ----------
    delay_s : [s] wait before each chunk
    rate_bytes_s : [bytes/s] each direction, 0 = no limit
    is_away : connections are refused and existing ones ended
    cut_after_bytes : the connection is cut after so many bytes more, once; 0 = not
    """

    delay_s: float = 0.0
    rate_bytes_s: float = 0.0
    is_away: bool = False
    cut_after_bytes: int = 0


class Proxy:
    """A proxy on a free port of 127.0.0.1.

    Parameters
    ----------
    target_port : where connections are passed on to
    """

    def __init__(self, target_port: int) -> None:
        self.manners = Manners()
        self.cuts = self.connections = 0
        self.port = 0
        self._target_port = target_port
        self._writers: set[asyncio.StreamWriter] = set()
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stop: asyncio.Event
        self._thread = threading.Thread(target=self._main, name="proxy", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()
        self._ready.wait(10)

    def close(self) -> None:
        """End everything."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def go_away(self) -> None:
        """Refuse connections and end existing ones."""
        self.manners.is_away = True
        self._loop.call_soon_threadsafe(self._end_all)

    def come_back(self) -> None:
        """Pass everything on, at once."""
        self.manners = Manners()

    def _main(self) -> None:
        asyncio.set_event_loop(self._loop)
        with contextlib.closing(self._loop):
            self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._take, "127.0.0.1", 0, limit=CHUNK_BYTES)
        self.port = int(server.sockets[0].getsockname()[1])
        self._ready.set()
        await self._stop.wait()
        server.close()
        self._end_all()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.manners.is_away:
            writer.transport.abort()
            return
        self.connections += 1
        try:
            there = await asyncio.open_connection("127.0.0.1", self._target_port, limit=CHUNK_BYTES)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, there[1]}
        await asyncio.gather(self._pass_on(reader, there[1]), self._pass_on(there[0], writer))
        self._writers -= {writer, there[1]}

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(CHUNK_BYTES):
                manners = self.manners
                wait_s = manners.delay_s
                if manners.rate_bytes_s:
                    wait_s += len(chunk) / manners.rate_bytes_s
                if wait_s:
                    await asyncio.sleep(wait_s)
                if 0 < manners.cut_after_bytes <= len(chunk):
                    writer.write(chunk[: manners.cut_after_bytes])
                    manners.cut_after_bytes = 0
                    self.cuts += 1
                    await writer.drain()
                    self._end_all()
                    return
                manners.cut_after_bytes -= min(manners.cut_after_bytes, len(chunk))
                writer.write(chunk)
                await writer.drain()
        if not writer.is_closing():
            writer.close()

    def _end_all(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()


@contextlib.contextmanager
def proxy(target_port: int) -> Iterator[Proxy]:
    """Run a `Proxy`.

    Parameters
    ----------
    target_port : where connections are passed on to

    Yields
    ------
    line : listening
    """
    made = Proxy(target_port)
    made.start()
    try:
        yield made
    finally:
        made.close()
