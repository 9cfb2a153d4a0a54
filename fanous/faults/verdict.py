"""The end of every fault: everything must come to rest, and is then compared.

Rules of the file: first the rows (all committed ones in the journal, once), then the
tables (those of the undisturbed run), then InfluxDB; each has a deadline, and what is
not right by then is a violation with numbers. Logs must hold no traceback, and programs
must end only when they are told to.
"""

import re
import time
from collections.abc import Callable
from pathlib import Path

from fanous.faults.evidence import (
    JournalView,
    differences,
    expected_points,
    found_points,
    point_differences,
    read_tables,
)
from fanous.faults.hand import hand, send_tail
from fanous.faults.outcome import Outcome, Task
from fanous.faults.plant import Plant
from fanous.faults.processes import TooLateError, wait_until
from fanous.faults.recording import HORIZON_S, NS, Key, Tables

DRAIN_S = 120.0


def judge(
    task: Task,
    plant: Plant,
    *,
    done: str,
    times: int,
    more: dict[str, tuple[float, str]] | None = None,
    violations: list[str] | None = None,
    emitted: set[Key] | None = None,
    expected: Tables | None = None,
    compare: bool = True,
    may_end: bool = False,
    drain_s: float = DRAIN_S,
) -> Outcome:
    """Wait until everything is at rest and compare it with what was emitted.

    Parameters
    ----------
    task : of the fault
    plant : all its programs run, and nothing disturbs them any more
    done : what was done, in words
    times : how often
    more : further figures
    violations : found already
    emitted : rows that must be there; default: the whole recording
    expected : tables that must be there; default: those of the recording
    compare : whether the tables must be those of the undisturbed run
    may_end : whether a program may have ended by itself
    drain_s : [s] longest wait for each part
    """
    found = list(violations or [])
    wanted = {row.key for row in plant.recording.rows} if emitted is None else emitted
    tables = plant.recording.expected if expected is None else expected
    began_s = time.monotonic()
    found += _wait_for_feeds(plant, drain_s)
    view = JournalView(plant.gateway_state / "journal.sqlite")
    found += _wait_for_rows(plant, view, wanted, drain_s)
    rows_wrong = points_wrong = 0
    if compare:
        differ = _wait_for_tables(plant, tables, drain_s)
        rows_wrong = sum(missing + many for missing, many in differ.values())
        found += [
            f"table {name}: {missing} rows missing, {many} that no undisturbed run has"
            for name, (missing, many) in differ.items()
        ]
        if plant.database is not None:
            points = _wait_for_points(plant, tables, drain_s)
            points_wrong = sum(missing + many for missing, many in points.values())
            found += [
                f"InfluxDB {name}: {missing} points missing, {many} too many"
                for name, (missing, many) in points.items()
            ]
    spent_s = time.monotonic() - began_s
    found += _stop(plant)
    final = plant.journal().counts  # read anew: an id may have been given twice
    lost = len(wanted - set(final))
    duplicated = sum(count - 1 for count in final.values())
    found += [f"{lost} committed rows are not in the gateway's journal"] * bool(lost)
    found += [f"{duplicated} rows are in the gateway's journal twice"] * bool(duplicated)
    found += _logs(plant, may_end=may_end)
    return Outcome(
        name=task.name,
        done=done,
        times=times,
        emitted=len(wanted),
        lost=lost,
        duplicated=duplicated,
        rows_wrong=rows_wrong,
        points_wrong=points_wrong,
        drain_s=spent_s,
        violations=tuple(found),
        more=dict(more or {}),
    )


def _wait_for_feeds(plant: Plant, drain_s: float) -> list[str]:
    limit_s = drain_s + sum(p.remaining_s for p in plant.players.values())
    try:
        for player in plant.players.values():
            player.wait_until_played(limit_s)
    except TooLateError as error:
        return [str(error)]
    return []


def _wait_for_rows(plant: Plant, view: JournalView, wanted: set[Key], drain_s: float) -> list[str]:
    def are_there() -> bool:
        if plant.gateway.pid is None:
            raise TooLateError("the gateway does not run: rows cannot arrive")
        view.look(runs=True, scratch=plant.folder / "scratch-gateway")
        return len(view.counts) >= len(wanted) and wanted <= set(view.counts)

    try:
        wait_until(are_there, "all committed rows are in the journal", drain_s)
        for player in plant.players.values():
            player.wait_until_empty(drain_s)
    except TooLateError as error:
        return [str(error)]
    return []


def _wait_for_tables(plant: Plant, tables: Tables, drain_s: float) -> dict[str, tuple[int, int]]:
    recording = plant.recording
    try:
        with hand(plant.broker.port, host=plant.broker_host) as sender:
            send_tail(sender, recording, recording.agents, limit_s=drain_s)
    except (TooLateError, OSError):
        pass  # the tables then show it
    return _settled(
        plant,
        lambda: differences(
            tables,
            read_tables(
                plant.gateway_state, tables, recording.last_ns,
                runs=plant.gateway.pid is not None, scratch=plant.folder / "scratch-tables",
            ),
        ),
        drain_s,
    )  # fmt: skip


def _wait_for_points(plant: Plant, tables: Tables, drain_s: float) -> dict[str, tuple[int, int]]:
    assert plant.database is not None
    port = plant.database.port
    last_ns = plant.recording.last_ns + HORIZON_S * NS
    points = expected_points(tables)
    return _settled(plant, lambda: point_differences(points, found_points(port, last_ns)), drain_s)


def _settled(
    plant: Plant, look: Callable[[], dict[str, tuple[int, int]]], limit_s: float
) -> dict[str, tuple[int, int]]:
    """Look until there is no difference any more, or for so long; return the last one."""
    until_s = time.monotonic() + limit_s
    while True:
        found = look()
        if not found or time.monotonic() > until_s or plant.gateway.pid is None:
            return found
        time.sleep(0.2)


def _stop(plant: Plant) -> list[str]:
    found = []
    for program in [*(player.program for player in plant.players.values()), plant.gateway]:
        if program.pid is None:
            continue
        began_s = time.monotonic()
        code = program.stop()
        if code != 0:
            found.append(f"{program.name} was told to stop and ended with {code}")
        elif time.monotonic() - began_s > 6.0:
            found.append(f"{program.name} took {time.monotonic() - began_s:.1f} s to stop")
    return found


def _logs(plant: Plant, *, may_end: bool) -> list[str]:
    found = []
    for program in plant.all:
        program.note_end()
        if program.ended_alone and not may_end:
            found.append(f"{len(program.ended_alone)} times: {program.ended_alone[0]}")
        if program.log_text().count("Traceback"):
            found.append(f"{program.name} logged a traceback: {_traceback(program.log)}")
    return found


def _traceback(log: Path) -> str:
    """Return where the first traceback of a log comes from and what it says, in one line."""
    lines = [line.strip(" |+-") for line in log.read_text(errors="replace").splitlines()]
    begin = next(at for at, line in enumerate(lines) if "Traceback" in line)
    places = [at for at, line in enumerate(lines) if at > begin and line.startswith("File ")]
    if not places:
        return "(no place)"
    after = lines[places[-1] + 1 :]
    said = next(
        (line for line in after if re.match(r"[\w.]+(Error|Exception|Interrupt)\b", line)), ""
    )
    where = re.sub(r'File ".*/([^/]+/[^/]+)"', r"\1", lines[places[-1]])
    return f"{where}: {said}"[:300]
