"""A process that stores events and sends them is killed again and again (SIGKILL)."""

import asyncio
import random
import sys
from pathlib import Path

import pytest

from tests.gateway.polling import until
from tests.gateway.webhook_rig import Receiver, empty

COUNT = 400
KILLS = 5
SENDER = f"""
import asyncio, sys
from pathlib import Path
from gateway.gate import Gate
from gateway.result_store import ResultStore
from tests.gateway.webhook_rig import QUICK, Receiver, empty, save, sending, webhook

async def run(directory, port):
    results = ResultStore(directory / "results.sqlite")
    receiver = Receiver()
    receiver.port = port
    async with sending(results, webhook(directory, receiver, timeout_s=1.0)):
        at = results.progress_id()
        while at < {COUNT}:  # as the engine: an event with the step that made it
            save(results, [empty(at)], journal_id=at + 1)
            at = results.progress_id()
            await asyncio.sleep(0.001)
        await asyncio.Event().wait()

asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2])))
"""


@pytest.mark.parametrize("seed", [1])
def test_a_kill_at_any_moment_loses_no_event_and_makes_none_twice(tmp_path, seed):
    draw = random.Random(seed)

    script = draw.choices([204, 204, 204, 503, "cut"], k=COUNT)

    async def run():
        receiver = await Receiver(script).start()
        for kill in range(KILLS + 1):
            child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", SENDER, str(tmp_path), str(receiver.port)),
                cwd=Path(__file__).parents[2],
                stderr=asyncio.subprocess.DEVNULL,
            )
            goal = len(receiver.arrived) + draw.randint(20, 70)
            goal = 10**6 if kill == KILLS else goal
            await until(
                lambda goal=goal: (
                    len(dict(receiver.taken)) == COUNT or len(receiver.arrived) >= goal
                )
            )
            child.kill()
            await child.wait()
        await receiver.stop()
        return receiver

    receiver = asyncio.run(run())
    ids = [message_id for message_id, _ in receiver.taken]
    again = len(ids) - COUNT
    print(f"{COUNT} events, {KILLS + 1} processes killed, {len(receiver.arrived)} requests, ")
    print(f"{again} taken twice")
    assert [empty(at).id for at in range(COUNT)] == list(dict.fromkeys(ids))
    assert ids == sorted(ids)
    assert 0 == receiver.forged
    assert again <= script[: len(receiver.arrived)].count("cut") + KILLS + 1
