"""What the tests of the agent share: settings, a clock that stands, a source of given rows."""

import asyncio
import time

from edge.settings import EdgeSettings, MqttSettings

KEY = b"0123456789abcdef0123456789abcdef"
T0 = 1_764_000_000_000_000_000
BAND = "ibeacon:b9407f30-f5f8-466e-aff9-25556b57fe6d-1-256"


def make_settings(folder, *, port=1, **changes):
    key_file = folder / "fanous.key"
    key_file.write_bytes(KEY)
    fields = {
        "store": "demo",
        "agent": "pi-1",
        "state_dir": str(folder / "state"),
        "pseudonym_key_file": str(key_file),
        "mqtt": MqttSettings(url=f"mqtt://127.0.0.1:{port}"),
    }
    return EdgeSettings(**{**fields, **changes})


class FakeSource:
    """A source that hands over given chunks and then ends, or waits for ever."""

    def __init__(self, *chunks, name="fake", ends=True):
        self.name, self.chunks, self.ends = name, chunks, ends

    async def run(self, emit):
        for chunk in self.chunks:
            await emit(chunk)
        if not self.ends:
            await asyncio.Event().wait()

    def health(self):
        return {}


async def until(condition, timeout_s=10.0):
    """Wait until a condition holds, polling; fail when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.01)
