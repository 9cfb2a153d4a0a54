"""The live stream over HTTP."""

import asyncio
import json

import pytest

from gateway.live import LiveHub, LivePicture
from tests.gateway.http_rig import Rig
from tests.gateway.samples import STORE


@pytest.fixture
def rig(tmp_path):
    made = Rig(tmp_path)
    yield made
    made.results.close()


async def _next_message(reply):
    found = {}
    async for raw in reply.content:
        line = raw.decode().rstrip("\n")
        if not line and "data" in found:
            return int(found["id"]), json.loads(found["data"])
        name, _, value = line.partition(": ")
        found[name] = value
    return None


def test_the_stream_starts_with_the_newest_and_resumes_after_what_was_seen(rig):
    async def ask(client):
        for at in range(5):
            rig.hub.send({"n": at})
        async with client.get("/api/v1/live") as reply:
            first = await _next_message(reply)
            rig.hub.send({"n": 5})
            second = await _next_message(reply)
        async with client.get("/api/v1/live", headers={"Last-Event-ID": "3"}) as reply:
            missed = [(await _next_message(reply))[0] for _ in range(3)]
        return first, second, missed, reply.content_type

    expected = ((5, {"n": 4}), (6, {"n": 5}), [4, 5, 6], "text/event-stream")
    assert expected == rig.run(ask)


def test_open_streams_end_with_the_server(rig):
    async def ask(client):
        reply = await client.get("/api/v1/live")
        rig.hub.close()
        return await asyncio.wait_for(reply.content.read(), 5)

    assert b"retry: 1000\n\n" == rig.run(ask)


def test_a_slow_watcher_loses_its_oldest_messages():
    async def run():
        hub = LiveHub()
        queue = hub.join(None)
        for at in range(20):
            hub.send({"n": at})
        return hub.messages_dropped, queue.qsize(), queue.get_nowait()

    dropped, size, oldest = asyncio.run(run())
    assert (12, 8) == (dropped, size)
    assert b'id: 13\ndata: {"n":12}\n\n' == oldest


def test_watchers_are_bounded():
    async def run():
        hub = LiveHub()
        return [hub.join(None) is None for _ in range(257)]

    assert [False] * 256 + [True] == asyncio.run(run())


def test_an_empty_picture_names_all_zones():
    message = LivePicture(STORE).message([], [])
    assert {"shoes": 0, "promo": 0} == message["zones"]
    assert [] == message["tags"]
