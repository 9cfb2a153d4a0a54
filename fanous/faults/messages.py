"""Bad manners on the broker: twins, copies, disorder, poison, and an agent that was cut off.

Rules of the file: everything arrives in the end, so the final tables must be those of the
undisturbed run; what is malformed costs only itself.
"""

import json
import time
from collections.abc import Iterator

import msgspec
import paho.mqtt.client as paho
import zstandard
from paho.mqtt.enums import CallbackAPIVersion

from fanous.faults.hand import Hand, hand
from fanous.faults.outcome import Outcome, Task
from fanous.faults.plant import Plant
from fanous.faults.processes import Programs, TooLateError, wait_until
from fanous.faults.proxy import proxy
from fanous.faults.recording import NS, STORE, make_batches, make_recording
from fanous.faults.verdict import judge
from ingest.batch import Batch, Columns, encode_batch

COPIES = 3
REORDER_S = 60.0
TWIN_S = 0.15


def twin_clients(task: Task) -> Outcome:
    """Let a second client take over the sessions of agent and gateway again and again.

    Parameters
    ----------
    task : of the fault
    """
    count = 8 if task.quick else 60
    chance = task.random()
    recording = make_recording(task.folder, minutes=2 if task.quick else 8, seed=task.seed)
    with Programs() as programs:
        plant = Plant(programs, recording, task.folder / "plant", database=False)
        plant.start()
        player = plant.player("pi-1", speed=recording.seconds / count / 1.2)
        player.start()
        for number in range(count):
            time.sleep(chance.uniform(0.3, 1.5))
            name = (f"fanous-edge-{STORE}-pi-1", f"fanous-gateway-{STORE}")[number % 2]
            _take_over(plant.broker.port, name)
        done = "session of agent and gateway taken over by a twin that takes its messages"
        return judge(task, plant, done=done, times=count)


def copy_and_reorder(task: Task) -> Outcome:
    """Send every batch three times and up to 60 s out of order.

    Parameters
    ----------
    task : of the fault
    """
    chance = task.random()
    recording = make_recording(task.folder, minutes=4 if task.quick else 30, seed=task.seed)
    batches = make_batches(recording.rows, agent="pi-1", boot="copies")
    last_seq: dict[str, int] = {}
    for kind, _, _ in batches:
        last_seq[kind] = last_seq.get(kind, 0) + 1
    order = sorted(
        (end_ns + chance.uniform(0.0, REORDER_S) * NS, kind, payload)
        for kind, end_ns, payload in batches
        for _ in range(COPIES)
    )
    with Programs() as programs:
        plant = Plant(programs, recording, task.folder / "plant")
        plant.start()
        found = []
        with hand(plant.broker.port) as sender:
            for _, kind, payload in order:
                sender.send_batch("pi-1", kind, payload)
            for kind, seq in last_seq.items():
                if not sender.wait_for_ack("pi-1", "copies", kind, seq, 60.0):
                    found.append(
                        f"kind {kind}: expected an ack up to {seq}, got "
                        f"{sender.acked('pi-1', 'copies', kind)}"
                    )
        absorbed = int(plant.summary().get("duplicates", 0))
        return judge(
            task,
            plant,
            done=f"each batch {COPIES}×, up to {REORDER_S:g} s of data out of order",
            times=len(order),
            violations=found,
            more={"absorbed": (absorbed, "copies known by their numbers")},
        )


def cut_off_agent(task: Task) -> Outcome:
    """Keep one of two agents away from the broker; all its batches come in the end.

    Parameters
    ----------
    task : of the fault
    """
    minutes, feed_s = (8, 8.0) if task.quick else (65, 60.0)
    recording = make_recording(task.folder, minutes=minutes, seed=task.seed, agents=2)
    with Programs() as programs:
        plant = Plant(programs, recording, task.folder / "plant")
        plant.start()
        with proxy(plant.broker.port) as line:
            line.go_away()
            speed = recording.seconds / feed_s
            plant.player("pi-1", speed=speed).start()
            away = plant.player("pi-2", speed=speed, url=f"mqtt://127.0.0.1:{line.port}")
            away.start()
            for player in plant.players.values():
                player.wait_until_played(300.0)
            time.sleep(6.0)  # longer than an agent that is behind is waited for
            line.come_back()
            outcome = judge(
                task,
                plant,
                done=f"agent cut off for {recording.seconds / 60:.0f} min of data",
                times=1,
                more={"late": (len(away.rows), "rows that came after the end")},
            )
    return outcome


def poison(task: Task) -> Outcome:
    """Send malformed and oversize messages among good ones.

    Parameters
    ----------
    task : of the fault
    """
    recording = make_recording(task.folder, minutes=2 if task.quick else 8, seed=task.seed)
    rounds = 2 if task.quick else 40
    with Programs() as programs:
        plant = Plant(programs, recording, task.folder / "plant", database=False)
        plant.start()
        player = plant.player("pi-1", speed=recording.seconds / 12.0)
        player.start()
        sent = 0
        found: list[str] = []
        with hand(plant.broker.port) as sender:
            for number in range(rounds):
                sent += _poison_stream(sender, f"poison{number}", found)
        try:
            wait_until(
                lambda: plant.summary().get("dead_letters") == sent, "all poison is set aside", 20.0
            )
        except TooLateError:
            found.append(
                f"{sent} malformed messages were sent, dead letters: "
                f"{plant.summary().get('dead_letters')}"
            )
        return judge(
            task,
            plant,
            done="malformed, foreign and oversize messages among good ones",
            times=sent,
            violations=found,
        )


def _poison_stream(sender: Hand, boot: str, found: list[str]) -> int:
    """Send poison in the places of batches 2, 4, …; return how many messages that were."""
    seq, sent = 1, 0
    for payload in _poisons(boot):
        sender.send_batch("pi-1", "ble", _good(boot, seq))
        numbered = payload[1] if isinstance(payload, tuple) else None
        body = payload[0] if isinstance(payload, tuple) else payload
        sender.send_batch("pi-1", "ble", body)
        sent += 1
        # Where the number of a refused batch can be read, it counts as received.
        seq = numbered + 1 if numbered is not None else seq + 1
    sender.send_batch("pi-1", "ble", _good(boot, seq))
    if not sender.wait_for_ack("pi-1", boot, "ble", seq, 15.0):
        found.append(
            f"after poison the good batches are acknowledged up to "
            f"{sender.acked('pi-1', boot, 'ble')} of {seq}"
        )
    return sent


def _poisons(boot: str) -> Iterator[bytes | tuple[bytes, int]]:
    """Yield malformed messages; with its seq where that is readable."""
    good = msgspec.msgpack.decode(_good(boot, 1))
    yield b""
    yield b"\xff" * 40
    yield b"{" * 5000
    yield _good(boot, 1)[:-20]
    yield msgspec.msgpack.encode({"schema": "fanous.batch/1+zstd", "data": b"no zstandard"})
    bomb = zstandard.ZstdCompressor().compress(b"\0" * 100_000_000)
    yield msgspec.msgpack.encode({"schema": "fanous.batch/1+zstd", "data": bomb})
    yield msgspec.msgpack.encode([1, 2, 3])
    yield msgspec.msgpack.encode({**good, "seq": -1})
    changes: tuple[dict[str, object], ...] = (
        {"schema": "fanous.batch/99"},
        {"store": "elsewhere"},
        {"columns": {"t_ns": [1], "receiver": ["rx-1"], "tag": ["p_x"], "rssi_dbm": ["high"]}},
        {"columns": {"t_ns": [1, 2], "receiver": ["rx-1"], "tag": [], "rssi_dbm": []}},
        {
            "columns": {
                "t_ns": [1],
                "receiver": ["rx-1"],
                "tag": ["ble:b0b0b0b0b0b0"],
                "rssi_dbm": [-50],
            }
        },
        {"padding": "x" * 400_000},
    )
    for at, change in enumerate(changes):
        seq = 2 + _UNNUMBERED + 2 * at
        yield msgspec.msgpack.encode({**good, "seq": seq, **change}), seq
    text = json.dumps({"schema": "fanous.batch/1", "columns": "x" * 300_000})
    yield text.encode()


_UNNUMBERED = 8


def _good(boot: str, seq: int) -> bytes:
    empty: list[str] = []
    return encode_batch(
        Batch(
            store=STORE, agent="pi-1", boot=boot, kind="ble", seq=seq, sent_ns=0,
            columns=Columns(t_ns=[], receiver=empty, tag=empty, rssi_dbm=[]),
        )
    )  # fmt: skip


def _take_over(port: int, name: str) -> None:
    """Be somebody else for a moment: take the session and its messages, and go."""
    twin = paho.Client(CallbackAPIVersion.VERSION2, name, clean_session=False)
    twin.connect("127.0.0.1", port)
    until_s = time.monotonic() + TWIN_S
    while time.monotonic() < until_s:
        twin.loop(0.02)
    twin.disconnect()
