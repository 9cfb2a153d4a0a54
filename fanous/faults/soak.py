"""A compressed soak: hours of data in minutes, with memory and open files watched.

Rules of the file: the first third is warming up; from then on the resident memory of
gateway and agent may grow by `GROWTH_MB`, and the number of open files by `FILES_MORE`
(a connection or a stretch that is being computed again). In a quick run the shop is still
filling after its first third, so more is allowed there.
"""

import time

from fanous.faults.outcome import Outcome, Task
from fanous.faults.plant import Plant
from fanous.faults.processes import Programs
from fanous.faults.recording import make_recording
from fanous.faults.verdict import judge

GROWTH_MB, QUICK_GROWTH_MB = 25.0, 60.0
FILES_MORE = 4


def soak(task: Task) -> Outcome:
    """Let a day pass quickly and watch memory and open files.

    Parameters
    ----------
    task : of the fault
    """
    minutes, feed_s = (6, 15.0) if task.quick else (180, 300.0)
    recording = make_recording(task.folder, minutes=minutes, seed=task.seed)
    with Programs() as programs:
        plant = Plant(programs, recording, task.folder / "plant")
        plant.start()
        player = plant.player("pi-1", speed=recording.seconds / feed_s)
        player.start()
        time.sleep(feed_s / 3)
        watched = {"gateway": plant.gateway, "agent": player.program}
        before_mb = {name: program.memory_mb() for name, program in watched.items()}
        files = {name: program.open_files() for name, program in watched.items()}
        time.sleep(feed_s * 0.6)
        more: dict[str, tuple[float, str]] = {}
        found = []
        allowed_mb = QUICK_GROWTH_MB if task.quick else GROWTH_MB
        for name, program in watched.items():
            now_mb = program.memory_mb()
            more[f"{name}_memory"] = (now_mb, f"MB of the {name} at the end")
            more[f"{name}_growth"] = (now_mb - before_mb[name], f"MB of the {name} more than early")
            if now_mb - before_mb[name] > allowed_mb:
                found.append(
                    f"the {name} grew from {before_mb[name]:.0f} to {now_mb:.0f} MB in "
                    f"{feed_s * 0.6:.0f} s"
                )
            if program.open_files() > files[name] + FILES_MORE:
                found.append(f"the {name} had {files[name]} files open, now {program.open_files()}")
        return judge(
            task,
            plant,
            done=f"{minutes} min of data in {feed_s:.0f} s",
            times=1,
            more=more,
            violations=found,
        )
