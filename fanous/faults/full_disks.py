"""Full disks and failing writes: of the agent, then of the gateway.

Rules of the file: the disk is a small tmpfs with a ballast file, which an operator takes
away after a while. Nothing is lost but what the agent's loss ledger says, no tap ever.
Write errors are made by a limit on the size of files (`RLIMIT_FSIZE`, set from outside
on the running program): a write fails with EFBIG, so a commit fails before its sync. An
fsync that fails by itself is not made here; that would take libfiu.
"""

import resource
import shutil
import time
from dataclasses import replace
from pathlib import Path

from fanous.faults.evidence import read_losses
from fanous.faults.mounts import small_disk
from fanous.faults.outcome import Outcome, Task
from fanous.faults.plant import Plant, Player
from fanous.faults.processes import Program, Programs, TooLateError, wait_until
from fanous.faults.recording import Recording, make_recording
from fanous.faults.verdict import judge

DISK_MB = 32
FEED_S = 12.0
LIMITED_S = 3.0


def fill_agent(task: Task) -> Outcome:
    """Fill the agent's disk while the broker is away, then make room.

    Parameters
    ----------
    task : of the fault
    """
    recording = make_recording(task.folder, minutes=2 if task.quick else 8, seed=task.seed)
    with (
        small_disk(task.folder / "disk", size_mb=DISK_MB) as disk,
        Programs() as programs,
    ):
        plant = Plant(programs, recording, task.folder / "plant", database=False)
        plant.start()
        player = plant.player("pi-1", speed=recording.seconds / FEED_S, state_dir=disk / "state")
        player.start()
        wait_until(lambda: plant.summary().get("readings", 0) > 0, "the agent delivers", 30.0)
        plant.broker.kill()
        found = _fill(disk, player.program, ("disk full", "commit failed"))
        time.sleep(LIMITED_S)
        # First the way is free again while the disk is still full, then the disk has room.
        plant.broker.start_ready()
        time.sleep(LIMITED_S)
        (disk / "ballast").unlink()
        done = "agent's disk full, broker away"
        return _drain_and_weigh(task, plant, recording, player, done=done, found=found)


def fill_gateway(task: Task) -> Outcome:
    """Fill the gateway's disk while agents send, then make room.

    Parameters
    ----------
    task : of the fault
    """
    recording = make_recording(task.folder, minutes=2 if task.quick else 8, seed=task.seed)
    with (
        small_disk(task.folder / "disk", size_mb=2 * DISK_MB) as disk,
        Programs() as programs,
    ):
        plant = Plant(
            programs, recording, task.folder / "plant", gateway={"state_dir": str(disk / "state")}
        )
        plant.start()
        player = plant.player("pi-1", speed=recording.seconds / FEED_S)
        player.start()
        wait_until(lambda: plant.summary().get("readings", 0) > 0, "the agent delivers", 30.0)
        found = _fill(disk, plant.gateway, ())
        time.sleep(2 * LIMITED_S)
        (disk / "ballast").unlink()
        restarts = _revive(plant.gateway)
        return judge(
            task,
            plant,
            done="gateway's disk full",
            times=1,
            violations=found,
            more={"restarts": (restarts, "starts that a supervisor had to make")},
        )


def overflow_outbox(task: Task) -> Outcome:
    """Let an outbox of 1 MB overflow: readings go, counted, and no tap.

    Parameters
    ----------
    task : of the fault
    """
    recording = make_recording(task.folder, minutes=6 if task.quick else 20, seed=task.seed)
    with Programs() as programs:
        plant = Plant(programs, recording, task.folder / "plant", database=False)
        plant.gateway.start()
        player = plant.player("pi-1", speed=0.0, tables={"outbox": {"max_mb": 1}})
        player.start()
        player.wait_until_played(120.0)
        time.sleep(1.0)
        plant.broker.start_ready()
        plant.gateway.start_ready()
        done = "outbox of 1 MB overflows while the broker is away"
        return _drain_and_weigh(task, plant, recording, player, done=done, found=[])


def _drain_and_weigh(
    task: Task,
    plant: Plant,
    recording: Recording,
    player: Player,
    *,
    done: str,
    found: list[str],
) -> Outcome:
    """Wait until the agent has delivered what it has, and compare what is missing with ledgers."""
    began_s = time.monotonic()
    try:
        player.wait_until_played(60.0)
        time.sleep(1.0)  # its last batch is closed and committed
        player.wait_until_empty(60.0)
    except TooLateError as error:
        found.append(str(error))
    drain_s = time.monotonic() - began_s
    said = plant.summary()
    code = player.program.stop()
    if code != 0:
        found.append(f"the agent was told to stop and ended with {code}")
    ledger = read_losses(player.state_dir, scratch=task.folder / "scratch")
    return replace(_weigh(task, plant, recording, ledger, said, found), done=done, drain_s=drain_s)


def _weigh(
    task: Task,
    plant: Plant,
    recording: Recording,
    ledger: dict[str, int],
    said: dict[str, object],
    found: list[str],
) -> Outcome:
    """Compare what is missing with what the ledgers say.

    The gateway's is exact. The agent's may be higher: what was out when it had to be dropped may
    have arrived, and the agent cannot know before an acknowledgement comes.
    """
    counts = plant.journal().counts
    missing: dict[str, int] = {"ble": 0, "tap": 0, "sample": 0}
    for row in recording.rows:
        if row.key not in counts:
            missing[row.key[0]] += 1
    told = said.get("lost")
    uncounted = abs(sum(missing.values()) - (told if isinstance(told, int) else 0))
    overcounted = sum(max(0, ledger.get(kind, 0) - rows) for kind, rows in missing.items())
    for kind, rows in missing.items():
        if rows > ledger.get(kind, 0):
            found.append(
                f"{rows} rows of kind {kind} are missing, the loss ledger of the agent says "
                f"{ledger.get(kind, 0)}"
            )
    if missing["tap"]:
        found.append(f"{missing['tap']} taps are lost")
    if told != sum(missing.values()):
        found.append(
            f"{sum(missing.values())} rows are missing, the gateway's summary says lost = {told}"
        )
    for program in plant.all:
        program.note_end()
        found += program.ended_alone
        if "Traceback" in program.log_text():
            found.append(f"{program.name} logged a traceback: {program.last_words()}")
    return Outcome(
        name=task.name,
        done="",
        times=1,
        emitted=len(recording.rows),
        lost=uncounted,
        duplicated=sum(count - 1 for count in counts.values()),
        violations=tuple(found),
        more={
            "dropped": (sum(missing.values()), "rows missing"),
            "overcounted": (overcounted, "rows in the agent's ledger that the gateway has"),
        },
    )


def fail_writes(task: Task) -> Outcome:
    """Let every write of agent or gateway fail for some seconds.

    Parameters
    ----------
    task : of the fault
    """
    count = 2 if task.quick else 10
    chance = task.random()
    recording = make_recording(task.folder, minutes=2 if task.quick else 8, seed=task.seed)
    restarts = 0
    with Programs() as programs:
        plant = Plant(programs, recording, task.folder / "plant", database=False)
        plant.start()
        player = plant.player("pi-1", speed=recording.seconds / count / 6.0)
        player.start()
        for number in range(count):
            time.sleep(chance.uniform(1.0, 2.0))
            victim = (player.program, plant.gateway)[number % 2]
            _limit_files(victim, 0)
            time.sleep(chance.uniform(1.0, LIMITED_S))
            _limit_files(victim, resource.RLIM_INFINITY)
            if victim is plant.gateway:
                restarts += _revive(victim)
            elif victim.pid is None:
                restarts += 1
                player.start()
        return judge(
            task,
            plant,
            done="all writes of agent and gateway fail for seconds (RLIMIT_FSIZE)",
            times=count,
            more={"restarts": (restarts, "starts that a supervisor had to make")},
        )


def _limit_files(program: Program, size: int) -> None:
    if program.pid is not None:
        resource.prlimit(program.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def _fill(disk: Path, program: Program, words: tuple[str, ...]) -> list[str]:
    """Fill a disk up to the last byte; return what is wrong with how the program takes it."""
    with (disk / "ballast").open("wb") as ballast:
        room = shutil.disk_usage(disk).free
        ballast.write(b"\0" * max(0, room - 256 * 1024))
    try:
        wait_until(
            lambda: program.pid is None or any(word in program.log_text() for word in words),
            f"{program.name} notices that its disk is full",
            10.0 if words else LIMITED_S,
        )
    except TooLateError as error:
        return [str(error)] if words else []
    return []


def _revive(program: Program) -> int:
    """Start a program again if it has ended; return 1 if so."""
    if program.pid is not None:
        return 0
    program.start()
    return 1
