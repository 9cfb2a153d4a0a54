"""Bad lines: between agent and broker, between gateway and database.

Rules of the file: the line is `proxy.Proxy`. A slow or absent database may cost nothing:
no row, no point, and no memory of the gateway beyond a bound.
"""

import time

from fanous.faults.outcome import Outcome, Task
from fanous.faults.plant import Plant
from fanous.faults.processes import Programs
from fanous.faults.proxy import Manners, proxy
from fanous.faults.recording import make_recording
from fanous.faults.verdict import judge

MEMORY_MB = 200.0
"""What the gateway may use at most (targets, Speed and size)."""


def worsen_line(task: Task) -> Outcome:
    """Delay, slow down and cut the line between agent and broker.

    Parameters
    ----------
    task : of the fault
    """
    rounds = 2 if task.quick else 12
    chance = task.random()
    recording = make_recording(task.folder, minutes=2 if task.quick else 8, seed=task.seed)
    with Programs() as programs:
        plant = Plant(programs, recording, task.folder / "plant", database=False)
        plant.start()
        with proxy(plant.broker.port) as line:
            player = plant.player(
                "pi-1",
                speed=recording.seconds / rounds / 8.0,
                url=f"mqtt://127.0.0.1:{line.port}",
            )
            player.start()
            for _ in range(rounds):
                time.sleep(chance.uniform(0.3, 1.0))
                line.manners = Manners(delay_s=chance.uniform(0.05, 0.4))
                time.sleep(2.0)
                line.manners = Manners(rate_bytes_s=chance.uniform(3_000, 10_000))
                time.sleep(2.0)
                # In the middle of a packet: batches are longer than this.
                line.manners = Manners(cut_after_bytes=chance.randint(1, 3_000))
                time.sleep(2.0)
            line.come_back()
            return judge(
                task,
                plant,
                done="line with delay, 3 to 10 kB/s and cuts within packets",
                times=rounds,
                more={"cuts": (line.cuts, "connections cut within a packet")},
            )


def slow_database(task: Task) -> Outcome:
    """Let the database answer slowly, then not at all, then again.

    Parameters
    ----------
    task : of the fault
    """
    recording = make_recording(task.folder, minutes=4 if task.quick else 20, seed=task.seed)
    feed_s = 12.0 if task.quick else 60.0
    with Programs() as programs:
        plant = Plant(programs, recording, task.folder / "plant")
        assert plant.database is not None
        plant.database.start_ready()
        with proxy(plant.database.port) as line:
            plant.set_database_port(line.port)
            plant.start()
            player = plant.player("pi-1", speed=recording.seconds / feed_s)
            player.start()
            line.manners = Manners(delay_s=0.3, rate_bytes_s=20_000)
            time.sleep(feed_s / 2)
            line.go_away()
            player.wait_until_played(4 * feed_s)
            time.sleep(2.0)
            queued = int(plant.summary().get("points_queued", 0))
            line.come_back()
            peak_mb = plant.gateway.peak_memory_mb()
            found = []
            if peak_mb > MEMORY_MB:
                found.append(f"the gateway used {peak_mb:.0f} MB, expected {MEMORY_MB:g} at most")
            if not queued:
                found.append("no point waited while the database was away: nothing was shown")
            return judge(
                task,
                plant,
                done="database slow (0.3 s, 20 kB/s), then away, then back",
                times=1,
                violations=found,
                more={
                    "memory": (peak_mb, "MB of the gateway at most"),
                    "queued": (queued, "points waiting on disk"),
                },
            )
