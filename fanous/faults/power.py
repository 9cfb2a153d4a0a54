"""Power cuts of the agent's and of the gateway's disk.

Rules of the file: a cut is `mounts.LoopDisk.cut_power`, then the program is killed, the
disk is unmounted and mounted again. What the outbox held as committed right before the
cut must be in it afterwards, unless the gateway has it; what the gateway has once
acknowledged must be in its journal in the end. A database must open without help.
"""

import time

from fanous.faults.evidence import keys_in
from fanous.faults.mounts import LoopDisk, loop_disk
from fanous.faults.outcome import Outcome, Task
from fanous.faults.plant import Plant, Player
from fanous.faults.processes import Programs, TooLateError
from fanous.faults.recording import make_recording
from fanous.faults.verdict import judge

PAUSE_S = (0.7, 1.6)


def cut_power(task: Task) -> Outcome:
    """Cut the power of the agent's or of the gateway's disk at random moments.

    Parameters
    ----------
    task : of the fault
    """
    count, minutes = (3, 2) if task.quick else (36, 16)
    chance = task.random()
    recording = make_recording(task.folder, minutes=minutes, seed=task.seed)
    folder = task.folder
    found: list[str] = []
    waited = 0
    cuts = {"agent": 0, "gateway": 0}
    with (
        loop_disk(folder / "edge.img", folder / "edge-disk") as edge_disk,
        loop_disk(folder / "gateway.img", folder / "gateway-disk", size_mb=256) as gateway_disk,
        Programs() as programs,
    ):
        plant = Plant(
            programs,
            recording,
            folder / "plant",
            gateway={"state_dir": str(gateway_disk.place / "state")},
        )
        plant.start()
        player = plant.player(
            "pi-1",
            speed=recording.seconds / count / 1.7,
            state_dir=edge_disk.place / "state",
        )
        player.start()
        for number in range(count):
            time.sleep(chance.uniform(*PAUSE_S))
            victim = ("agent", "gateway")[number % 2] if number < 2 else chance.choice(list(cuts))
            cuts[victim] += 1
            if victim == "agent":
                plant.broker.kill()  # so that batches wait in the outbox
                time.sleep(chance.uniform(0.3, 0.8))
                waited += len(player.outbox())
                found += _cut_agent(plant, player, edge_disk)
                plant.broker.start()
            else:
                gateway_disk.cut_power()
                plant.gateway.kill()
                gateway_disk.unmount()
                gateway_disk.mount()
                plant.gateway.start()
            if not number % 10:
                task.say(f"{number + 1} of {count} cuts")
        try:
            plant.gateway.start_ready()
        except TooLateError as error:
            found.append(str(error))
        return judge(
            task,
            plant,
            done=f"power cut of the disk of agent {cuts['agent']}×, gateway {cuts['gateway']}×",
            times=count,
            violations=found,
            more={"waiting": (waited, "batches in the outbox at the cuts")},
        )


def _cut_agent(plant: Plant, player: Player, disk: LoopDisk) -> list[str]:
    """Cut the agent's power once; return what of its committed batches is gone."""
    before = player.outbox()
    disk.cut_power()
    player.program.kill()
    disk.unmount()
    disk.mount()
    after = player.outbox()
    gone = [payload for batch, payload in before.items() if batch not in after]
    missing = keys_in(gone) - set(plant.journal().counts) if gone else set()
    player.committed |= keys_in(before.values())
    player.start()
    return [f"{len(missing)} rows committed by the agent did not survive the cut"] * bool(missing)
