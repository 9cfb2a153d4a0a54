"""A whole store at work: broker, database, gateway and agents that play a recorded day.

Rules of the file: the programs are those that users run, with configurations that users
could write. An agent that was killed plays on with the rows that it had not committed;
what it had once committed is never played again, so that a loss cannot hide.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fanous.faults.evidence import JournalView, keys_in, read_outbox, summary_of
from fanous.faults.processes import Program, Programs, TooLateError, free_port, wait_until
from fanous.faults.recording import FILES, STORE, Key, Recording, write_rows
from fanous.faults.servers import make_broker, make_database

PYTHON = ("-m", "fanous")
SOURCE_ENDED = "source ended"


class Plant:
    """Programs around one gateway.

    Parameters
    ----------
    programs : ends them
    recording : the day that the agents play
    folder : for all files
    database : whether there is an InfluxDB
    keeps : whether the broker keeps its sessions over a restart
    broker_host : the address of the broker
    broker_more : lines for the broker's configuration
    gateway : tables and keys for gateway.toml
    """

    def __init__(
        self,
        programs: Programs,
        recording: Recording,
        folder: Path,
        *,
        database: bool = True,
        keeps: bool = True,
        broker_host: str = "127.0.0.1",
        broker_more: str = "",
        gateway: Mapping[str, Any] | None = None,
    ) -> None:
        self.programs, self.recording, self.folder = programs, recording, folder
        folder.mkdir(parents=True, exist_ok=True)
        self.broker = programs.add(
            make_broker(folder / "broker", host=broker_host, keeps=keeps, more=broker_more)
        )
        self.broker_host = broker_host
        self.database = programs.add(make_database(folder / "database")) if database else None
        self.gateway_state = folder / "gateway-state"
        self._changes = dict(gateway or {})
        self._database_port = 0 if self.database is None else self.database.port
        self._gateway_port = free_port()
        self._write_gateway()
        self.gateway = programs.add(self._gateway())
        self.players: dict[str, Player] = {}

    @property
    def all(self) -> list[Program]:
        """Every program."""
        players = [player.program for player in self.players.values()]
        servers = [p for p in (self.broker, self.database) if p is not None]
        return [*servers, self.gateway, *players]

    def start(self) -> None:
        """Start the servers and the gateway, and wait until they answer."""
        for program in (self.broker, self.database, self.gateway):
            if program is not None:
                program.start_ready()

    def player(self, agent: str, *, speed: float, **changes: Any) -> "Player":  # noqa: ANN401
        """Return a new agent that plays its rows of the recording; not yet started.

        Parameters
        ----------
        agent : its name
        speed : [s of data per s]
        changes : to its `Player`
        """
        made = Player(self, agent, speed=speed, **changes)
        self.players[agent] = made
        return made

    def journal(self) -> JournalView:
        """Return a fresh view of the gateway's journal, fully read."""
        view = JournalView(self.gateway_state / "journal.sqlite")
        view.look(runs=self.gateway.pid is not None, scratch=self.folder / "scratch-gateway")
        return view

    def summary(self) -> dict[str, Any]:
        """Return the gateway's summary, {} when it does not answer."""
        return summary_of(self.gateway.port)

    def set_database_port(self, port: int) -> None:
        """Let the gateway reach the database through another port, before it starts.

        Parameters
        ----------
        port : of a proxy
        """
        self._database_port = port
        self._write_gateway()

    def _gateway(self) -> Program:
        port = self._gateway_port
        program = Program(
            "gateway",
            [sys.executable, *PYTHON, "gateway", "run", "-c", str(self.folder / "gateway.toml")],
            self.folder,
            is_ready=lambda: bool(summary_of(port).get("broker_connected")),
        )
        program.port = port
        return program

    def _write_gateway(self) -> None:
        tables: dict[str, Any] = {
            "mqtt": {"url": f"mqtt://{self.broker_host}:{self.broker.port}"},
            "http": {"port": self._gateway_port},
            "journal": {"checkpoint_s": 5.0, "late_quiet_s": 1.0},
        }
        if self.database is not None:
            url = f"http://127.0.0.1:{self._database_port}"
            tables["influxdb"] = {"url": url, "database": "fanous", "timeout_s": 5.0}
        keys: dict[str, Any] = {
            "store": str(self.recording.store_file),
            "state_dir": str(self.gateway_state),
            "clock": "data",
            "pseudonym_key_file": str(self.recording.key_file),
        }
        for name, value in self._changes.items():
            if isinstance(value, Mapping):
                tables[name] = {**tables.get(name, {}), **value}
            else:
                keys[name] = value
        self.gateway_state = Path(keys["state_dir"])
        (self.folder / "gateway.toml").write_text(_toml(keys, tables), encoding="utf-8")


class Player:
    """An agent that plays rows of the recording, and goes on with the rest after a kill.

    Parameters
    ----------
    plant : its surroundings
    agent : its name
    speed : [s of data per s], 0 = as fast as it goes
    url : of the broker; default: the plant's
    state_dir : default: in the plant's folder
    prefix : words before the command, for a network namespace
    tables : changes to edge.toml
    """

    def __init__(
        self,
        plant: Plant,
        agent: str,
        *,
        speed: float,
        url: str | None = None,
        state_dir: Path | None = None,
        prefix: Sequence[str] = (),
        tables: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.agent = agent
        self.rows = [row for row in plant.recording.rows if row.agent == agent]
        self.committed: set[Key] = set()
        self.state_dir = plant.folder / f"{agent}-state" if state_dir is None else state_dir
        self._plant, self._speed = plant, speed
        self._url = url or f"mqtt://{plant.broker_host}:{plant.broker.port}"
        self._tables = dict(tables or {})
        self._journal = JournalView(plant.gateway_state / "journal.sqlite")
        self._config = plant.folder / f"{agent}.toml"
        self._has_rows = True
        command = [sys.executable, *PYTHON, "edge", "run", "-c", str(self._config)]
        self.program = plant.programs.add(Program(agent, [*prefix, *command], plant.folder))

    @property
    def has_ended(self) -> bool:
        """Whether it has played everything that this start gave it."""
        return not self._has_rows or SOURCE_ENDED in self.program.log_since_start()

    def wait_until_played(self, limit_s: float) -> None:
        """Wait until it has played everything.

        Parameters
        ----------
        limit_s : [s] longest wait

        Raises
        ------
        TooLateError
            It has not by then, or it ended by itself.
        """

        def is_done() -> bool:
            if self.program.pid is None and not self.has_ended:
                raise TooLateError(f"{self.agent} does not run: it cannot play")
            return self.has_ended

        wait_until(is_done, f"{self.agent} has played all", limit_s)

    def wait_until_empty(self, limit_s: float) -> None:
        """Wait until everything in its outbox is acknowledged.

        Parameters
        ----------
        limit_s : [s] longest wait

        Raises
        ------
        TooLateError
            It is not by then.
        """
        wait_until(lambda: self.is_empty, f"the outbox of {self.agent} is empty", limit_s)

    @property
    def remaining_s(self) -> float:
        """How long all its rows take at most [s]."""
        return self._plant.recording.seconds / self._speed if self._speed else 0.0

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left in its outbox."""
        return not self.outbox()

    def outbox(self) -> dict[tuple[str, str, int], bytes]:
        """Return what is in its outbox."""
        scratch = self._plant.folder / f"scratch-{self.agent}"
        return read_outbox(self.state_dir, runs=self.program.pid is not None, scratch=scratch)

    def start(self) -> None:
        """Start it with the rows that it has never committed."""
        if self.program.starts:
            self.note_committed()
        left = [row for row in self.rows if row.key not in self.committed]
        self._has_rows = bool(left)
        folder = self._plant.folder / f"{self.agent}-rows"
        if left:
            self._write_config(write_rows(self._plant.recording, left, folder))
        else:  # a file with a header only
            (folder / "readings.csv").write_text(self._plant.recording.headers["ble"])
            self._write_config({"ble": folder / "readings.csv"})
        self.program.start()

    def note_committed(self) -> None:
        """Add to `committed` what is in the outbox or the journal now."""
        self.committed |= keys_in(self.outbox().values())  # before the journal: rows move there
        plant = self._plant
        self.committed |= set(
            self._journal.look(
                runs=plant.gateway.pid is not None, scratch=plant.folder / "scratch-player"
            )
        )

    def _write_config(self, paths: Mapping[str, Path]) -> None:
        keys = {
            "store": STORE,
            "agent": self.agent,
            "state_dir": str(self.state_dir),
            "pseudonym_key_file": str(self._plant.recording.key_file),
        }
        tables: dict[str, dict[str, Any]] = {
            "mqtt": {"url": self._url, "backoff_max_s": 1, "ack_timeout_s": 2},
            "batch": {"max_ms": 100},
            "outbox": {"commit_ms": 50},
        }
        tables = {
            name: {**tables.get(name, {}), **self._tables.get(name, {})}
            for name in {**tables, **self._tables}
        }
        text = _toml(keys, tables) + f'[[source]]\nkind = "replay"\nspeed = {self._speed}\n'
        text += "".join(f'{FILES[kind]} = "{path}"\n' for kind, path in paths.items())
        self._config.write_text(text, encoding="utf-8")


def _toml(keys: Mapping[str, Any], tables: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"
