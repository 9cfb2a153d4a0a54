"""Random ``kill -9`` of agent, broker, gateway and database, and restarts without sessions.

Rules of the file: moments and victims come from the seed. A program is killed wherever
it is, also while it is starting.
"""

import time

from fanous.faults.outcome import Outcome, Task
from fanous.faults.plant import Plant
from fanous.faults.processes import Programs
from fanous.faults.recording import make_recording
from fanous.faults.verdict import judge

PAUSE_S = (0.3, 1.2)
DOWN_S = (0.0, 0.4)


def kill_at_random(task: Task) -> Outcome:
    """Kill agent, broker, gateway and database at random moments.

    Parameters
    ----------
    task : of the fault
    """
    count, minutes = (12, 3) if task.quick else (120, 24)
    chance = task.random()
    recording = make_recording(task.folder, minutes=minutes, seed=task.seed)
    victims: dict[str, int] = {}
    with Programs() as programs:
        plant = Plant(programs, recording, task.folder / "plant")
        plant.start()
        # The feed lasts about as long as the kills.
        player = plant.player("pi-1", speed=recording.seconds / count / 1.1)
        player.start()
        for number in range(count):
            time.sleep(chance.uniform(*PAUSE_S))
            # One of each first, so that even a short run has them all.
            victim = plant.all[number % 4] if number < 4 else chance.choice(plant.all)
            victims[victim.name] = victims.get(victim.name, 0) + 1
            victim.kill()
            time.sleep(chance.uniform(*DOWN_S))
            if victim is player.program:
                player.start()
            else:
                victim.start()
            if not number % 10:
                task.say(f"{number + 1} of {count} kills")
        for program in plant.all:
            program.start()
        return judge(
            task,
            plant,
            done="kill -9 of " + ", ".join(f"{n} {count}×" for n, count in sorted(victims.items())),
            times=count,
        )


def restart_without_sessions(task: Task) -> Outcome:
    """Restart a broker that keeps nothing: sessions, subscriptions and messages are gone.

    Parameters
    ----------
    task : of the fault
    """
    count, minutes = (4, 2) if task.quick else (25, 10)
    chance = task.random()
    recording = make_recording(task.folder, minutes=minutes, seed=task.seed)
    with Programs() as programs:
        plant = Plant(programs, recording, task.folder / "plant", keeps=False, database=False)
        plant.start()
        player = plant.player("pi-1", speed=recording.seconds / count / 2.0)
        player.start()
        for _ in range(count):
            time.sleep(chance.uniform(1.0, 2.0))
            plant.broker.kill()
            time.sleep(chance.uniform(0.0, 1.0))
            plant.broker.start_ready()
        return judge(
            task, plant, done="broker killed and restarted without its sessions", times=count
        )
