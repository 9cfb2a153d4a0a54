"""Which agent sends which rows, and rows ready for a batch.

Rules of the file: a receiver belongs to the agent its store file names, else to
`DEFAULT_AGENT`; a tap point or a sensor belongs to the agent of the nearest receiver.
Tags become pseudonyms here, before anything is queued.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics.store import Store
from ingest.batch import Kind
from simulators.chunk import Chunk

DEFAULT_AGENT = "sim-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows of one kind for one agent: columns as plain lists."""

    agent: str
    kind: Kind
    columns: dict[str, list[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What happened until `end_ns`; no later step holds earlier rows."""

    end_ns: int
    rows: tuple[Rows, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """The agents of a store, and the agent of each receiver, tap point and sensor."""

    agents: tuple[str, ...]
    receiver: NDArray[np.int32]
    tap_point: NDArray[np.int32]
    sensor: NDArray[np.int32]


def find_routes(store: Store, *, agent: str | None = None) -> Routes:
    """Return who sends what.

    Parameters
    ----------
    store : the store
    agent : this one sends everything
    """
    of_receiver = [agent or r.agent or DEFAULT_AGENT for r in store.receivers]
    agents = tuple(dict.fromkeys(of_receiver))
    receiver = np.array([agents.index(name) for name in of_receiver], dtype=np.int32)
    position = np.array([r.position_m[:2] for r in store.receivers])
    middle = {z.id: np.asarray(z.polygon_m).mean(axis=0) for z in store.zones}

    def nearest(zones: Sequence[str]) -> NDArray[np.int32]:
        found = [int(((position - middle[z]) ** 2).sum(axis=1).argmin()) for z in zones]
        return receiver[np.array(found, dtype=np.int64)]

    return Routes(
        agents=agents,
        receiver=receiver,
        tap_point=nearest([point.zone for point in store.tap_points]),
        sensor=nearest([shelf.zone for shelf, _ in store.sensors]),
    )


def split_rows(
    kind: Kind,
    agents: Sequence[str],
    agent: NDArray[np.int32],
    columns: Mapping[str, NDArray[Any]],
) -> Iterator[Rows]:
    """Yield rows agent by agent.

    Parameters
    ----------
    kind : of the rows
    agents : names
    agent : shape (n,), int32, index into `agents`
    columns : shape (n,) each, under the names of the contract

    Yields
    ------
    rows : of one agent each, in the order they came
    """
    for index in np.unique(agent).tolist():
        mine = agent == index
        yield Rows(
            agent=agents[index],
            kind=kind,
            columns={name: values[mine].tolist() for name, values in columns.items()},
        )


def sample_columns(
    t_ns: NDArray[np.int64],
    sensor: NDArray[np.object_],
    value: NDArray[np.float64],
    is_mass: NDArray[np.bool_],
) -> dict[str, NDArray[Any]]:
    """Return the columns of samples: mass, range, or both with NaN where there is none.

    Parameters
    ----------
    t_ns : shape (n,), int64 [ns since 1970, UTC]
    sensor : shape (n,), names
    value : shape (n,), float64 [g] or [mm]
    is_mass : shape (n,), bool
    """
    columns: dict[str, NDArray[Any]] = {"t_ns": t_ns, "sensor": sensor}
    if is_mass.any():
        columns["mass_g"] = np.where(is_mass, value, np.nan)
    if not is_mass.all():
        columns["range_mm"] = np.where(is_mass, np.nan, value)
    return columns


def steps_of(
    chunks: Iterator[Chunk], store: Store, routes: Routes, pseudonym_of: Callable[[str], str]
) -> Iterator[Step]:
    """Turn a simulation into steps for a publisher.

    Parameters
    ----------
    chunks : the simulation
    store : what its indices refer to
    routes : who sends what
    pseudonym_of : a tag's pseudonym

    Yields
    ------
    step : one for each chunk
    """
    receivers = np.array([r.id for r in store.receivers], dtype=object)
    taps = np.array([p.id for p in store.tap_points], dtype=object)
    sensors = np.array([s.id for _, s in store.sensors], dtype=object)
    is_mass = np.array([s.kind == "mass" for _, s in store.sensors], dtype=np.bool_)
    for chunk in chunks:
        names = np.array([pseudonym_of(tag) for tag in chunk.tags], dtype=object)
        heard, tapped, sampled = chunk.readings, chunk.taps, chunk.samples
        tables: list[tuple[Kind, NDArray[np.int32], dict[str, NDArray[Any]]]] = [
            (
                "tap",
                routes.tap_point[tapped.tap_point],
                {
                    "t_ns": tapped.t_ns,
                    "tap_point": taps[tapped.tap_point],
                    "tag": names[tapped.tag],
                },
            ),
            (
                "sample",
                routes.sensor[sampled.sensor],
                sample_columns(
                    sampled.t_ns, sensors[sampled.sensor], sampled.value, is_mass[sampled.sensor]
                ),
            ),
            (
                "ble",
                routes.receiver[heard.receiver],
                {
                    "t_ns": heard.t_ns,
                    "receiver": receivers[heard.receiver],
                    "tag": names[heard.tag],
                    "rssi_dbm": heard.rssi_dbm,
                },
            ),
        ]
        rows = [
            row
            for kind, agent, columns in tables
            for row in split_rows(kind, routes.agents, agent, columns)
        ]
        yield Step(end_ns=chunk.end_ns, rows=tuple(rows))
