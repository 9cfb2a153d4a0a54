"""Clocks of agents that jump: an hour back, a day ahead.

Rules of the file: one agent is right, the other's clock jumps, in `sent_ns` and in the
times of its rows; the gateway runs with ``clock = "wall"``. Whatever is done about it,
no stay is negative, none lies outside the time in which anybody was there, and every
row is accounted for: in the journal, or in a dead letter that says so.
"""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from edge.batcher import Batcher, Sender
from edge.identity import Identity
from fanous.faults.evidence import opened
from fanous.faults.hand import Hand, hand
from fanous.faults.outcome import Outcome, Task
from fanous.faults.plant import Plant
from fanous.faults.processes import Programs, TooLateError, wait_until
from fanous.faults.recording import (
    KEY,
    NS,
    STORE,
    TAIL_S,
    Recording,
    Row,
    make_recording,
)
from ingest.batch import Batch, Columns, encode_batch
from ingest.columns import decode_batch
from ingest.identifiers import pseudonym

BACK_S = 1800
"""The day ends so long [s] before now: its tail is then not ahead of the gateway's clock."""
HOUR_S, DAY_S = 3600, 86400
SLACK_S = 30
DWELLS = (
    "SELECT start_ns, end_ns, dwell_s FROM dwells "
    "UNION ALL SELECT start_ns, end_ns, visit_s FROM visits"
)


def jump_clocks(task: Task) -> Outcome:
    """Let the clock of one of two agents jump by +1 day, back, −1 h and back.

    Parameters
    ----------
    task : of the fault
    """
    recording = make_recording(
        task.folder, minutes=2 if task.quick else 6, seed=task.seed, agents=2
    )
    shift_ns = time.time_ns() - BACK_S * NS - recording.last_ns
    with Programs() as programs:
        plant = Plant(
            programs, recording, task.folder / "plant", database=False, gateway={"clock": "wall"}
        )
        plant.start()
        found: list[str] = []
        with hand(plant.broker.port) as sender:
            emitted = _play(sender, recording, shift_ns, seconds=8.0 if task.quick else 40.0)
            _send_tail(sender, recording.last_ns + shift_ns)
            try:
                wait_until(
                    lambda: _journaled(plant) + _set_aside(plant) >= emitted,
                    "all rows are in the journal or set aside",
                    30.0,
                )
            except TooLateError as error:
                found.append(str(error))
            time.sleep(6.0)  # for what is computed again
        journaled, set_aside = _journaled(plant), _set_aside(plant)
        dropped = sum(plant.summary().get("dropped", {}).values())
        code = plant.gateway.stop()
        found += [f"the gateway ended with {code}"] * (code != 0)
        found += _stays(plant, recording, shift_ns)
        if journaled + set_aside != emitted:
            found.append(f"{emitted} rows emitted, {journaled} journaled and {set_aside} set aside")
        if "Traceback" in plant.gateway.log_text():
            found.append(f"the gateway logged a traceback: {plant.gateway.last_words()}")
        return Outcome(
            name=task.name,
            done="an agent's clock jumps by +1 day, back, −1 h and back",
            times=4,
            emitted=emitted,
            lost=max(0, emitted - journaled - set_aside),
            duplicated=max(0, journaled + set_aside - emitted),
            violations=tuple(found),
            more={
                "quarantined": (dropped + set_aside, "rows set aside, counted"),
            },
        )


def _jump_ns(share: float) -> int:
    """Return how wrong the clock is at a share of the day."""
    if 0.3 <= share < 0.5:
        return DAY_S * NS
    return -HOUR_S * NS if 0.7 <= share < 0.85 else 0


def _play(sender: Hand, recording: Recording, shift_ns: int, *, seconds: float) -> int:
    """Send the rows of both agents; return how many."""
    first_ns, span_ns = recording.rows[0].key[1], round(recording.seconds * NS)
    batchers = {
        agent: Batcher(
            Sender(store=STORE, agent=agent, boot="clock"),
            outer=Identity(KEY).outer,
            first_seq=lambda _kind: 1,
            max_rows=10_000,
        )
        for agent in recording.agents
    }
    steps = 100
    emitted = 0
    for step in range(steps):
        begun_s = time.monotonic()
        begin, end = (first_ns + span_ns * n // steps for n in (step, step + 1))
        for agent, batcher in batchers.items():
            wrong_ns = _jump_ns(step / steps) if agent == "pi-2" else 0
            rows = [
                r
                for r in _between(recording, begin, end, last=step == steps - 1)
                if r.agent == agent
            ]
            batcher.add(r.measurement._replace(t_ns=r.key[1] + shift_ns + wrong_ns) for r in rows)
            emitted += len(rows)
            for batch in batcher.close(time.time_ns() + wrong_ns):
                sender.send_batch(agent, batch.kind, batch.payload)
        time.sleep(max(0.0, seconds / steps - (time.monotonic() - begun_s)))
    return emitted


def _between(recording: Recording, begin: int, end: int, *, last: bool) -> list[Row]:
    return [r for r in recording.rows if begin <= r.key[1] and (last or r.key[1] < end)]


def _send_tail(sender: Hand, last_ns: int) -> None:
    for agent in ("pi-1", "pi-2"):
        seconds = TAIL_S if agent == "pi-1" else ()
        batch = Batch(
            store=STORE, agent=agent, boot="tail", kind="ble", seq=1, sent_ns=time.time_ns(),
            columns=Columns(
                t_ns=[last_ns + s * NS for s in seconds],
                receiver=["rx-1" for _ in seconds],
                tag=[pseudonym("name:nobody", KEY) for _ in seconds],
                rssi_dbm=[-60.0 for _ in seconds],
            ),
            complete_ns=last_ns + (TAIL_S[-1] + 1) * NS,
        )  # fmt: skip
        sender.send_batch(agent, "ble", encode_batch(batch))


def _journaled(plant: Plant) -> int:
    with closing(sqlite3.connect(f"{_journal(plant).as_uri()}?mode=ro", uri=True)) as database:
        query = "SELECT coalesce(sum(row_count), 0) FROM batches WHERE boot != 'tail'"
        return int(database.execute(query).fetchone()[0])


def _set_aside(plant: Plant) -> int:
    """Return the rows of batches that were refused whole and kept."""
    with closing(sqlite3.connect(f"{_journal(plant).as_uri()}?mode=ro", uri=True)) as database:
        letters = database.execute("SELECT payload FROM dead_letters").fetchall()
    return sum(decode_batch(payload).rows for (payload,) in letters if payload)


def _journal(plant: Plant) -> Path:
    return plant.gateway_state / "journal.sqlite"


def _stays(plant: Plant, recording: Recording, shift_ns: int) -> list[str]:
    """Return what is wrong with the stays that were found."""
    results = plant.gateway_state / "results.sqlite"
    with opened(results, runs=False, scratch=plant.folder / "scratch-clocks") as database:
        stays = database.execute(DWELLS).fetchall()
    begin = recording.rows[0].key[1] + shift_ns - SLACK_S * NS
    end = recording.last_ns + shift_ns + SLACK_S * NS
    negative = sum(length_s < 0 or end_ns < start_ns for start_ns, end_ns, length_s in stays)
    outside = sum(not begin <= start_ns <= end_ns <= end for start_ns, end_ns, _ in stays)
    found = [f"{negative} stays of {len(stays)} are negative"] * bool(negative)
    found += [
        f"{outside} stays of {len(stays)} lie where nobody was: the jump was believed"
    ] * bool(outside)
    return found + ["no stay was found at all"] * (not stays)
