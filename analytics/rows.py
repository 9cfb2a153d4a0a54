"""The tables that the core produces: one frozen record per kind of row.

Field names, their order and their meaning are the columns of the public contract
(section 3). ``None`` is an empty cell. The positions table is large and therefore
columnar (`Positions`); the others are small and come as records.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

STAGES = ("live", "final")
ZONE_STATES = ("known", "unknown", "outside")


@dataclass(frozen=True, slots=True, kw_only=True)
class Positions:
    """A stretch of the positions table, one element per row, in columns.

    Attributes
    ----------
    t_ns : int64 [ns], the tick's end
    tag : int32, index into the caller's tag table
    stage : uint8, index into `STAGES`
    layer : uint16, index into `Store.layers`
    zone : int16, index into `Store.zones`, -1 = none
    zone_state : uint8, index into `ZONE_STATES`
    zone_p : float32 [0-1], rounded to thousandths, NaN when unknown
    x_m, y_m, sigma_m : float32 [m], rounded to centimetres, NaN when unknown
    floor : uint8, index into `Store.floors`; 0 when unknown
    """

    t_ns: NDArray[np.int64]
    tag: NDArray[np.int32]
    stage: NDArray[np.uint8]
    layer: NDArray[np.uint16]
    zone: NDArray[np.int16]
    zone_state: NDArray[np.uint8]
    zone_p: NDArray[np.float32]
    x_m: NDArray[np.float32]
    y_m: NDArray[np.float32]
    sigma_m: NDArray[np.float32]
    floor: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dwell:
    """One stay of a tag in a zone."""

    dwell: str
    visit: str
    tag: str
    layer: str
    zone: str
    start_ns: int
    end_ns: int
    dwell_s: float
    sigma_s: float
    confidence: float
    readings: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One visit of a tag to the store; `zones` counts distinct zones of layer main."""

    visit: str
    tag: str
    start_ns: int
    end_ns: int
    visit_s: float
    zones: int
    path: str
    path_length_m: float
    directness: float | None
    hesitations: int
    taps: int
    shelf_s: float
    picks: int
    returns: int
    purpose: str
    purpose_p: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """How often visitors went from one zone to the next, and how long between."""

    layer: str
    from_zone: str
    to_zone: str
    count: int
    median_s: float
    p90_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ShelfEvent:
    """Something happened on a shelf; `status` is provisional, final or retracted."""

    event: str
    t_ns: int
    shelf: str
    sensor: str
    gtin: str | None
    kind: str
    status: str
    quantity: int
    delta_g: float
    confidence: float
    tag: str | None = None
    tag_p: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShelfStock:
    """What a product's ledger says at one moment; `state` is ok, low, empty, check or fault."""

    t_ns: int
    shelf: str
    gtin: str
    quantity: int
    sigma: float
    mass_g: float | None
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorHealth:
    """A sensor's state since a moment: ok, stuck, noisy, offset or silent."""

    sensor: str
    state: str
    since_ns: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Occupancy:
    """People in a zone during one minute, labelled by its end."""

    t_ns: int
    layer: str
    zone: str
    people: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueMinute:
    """A queue during one minute, labelled by its end."""

    t_ns: int
    zone: str
    length: int
    wait_p50_s: float | None
    wait_p90_s: float | None
    abandoned: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OccupancyEstimate:
    """People in a zone during one minute, with uncertainty, labelled by its end.

    `tagged` is the expected number of tags by the posterior, `people` everybody, with
    those who carry none (`Rules.tagged_share`); the sigmas are standard deviations.
    """

    t_ns: int
    layer: str
    zone: str
    tagged: float
    tagged_sigma: float
    people: float
    people_sigma: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Heat:
    """Person-seconds spent in one cell during a quarter of an hour, labelled by its end."""

    t_ns: int
    floor: str
    x_m: float
    y_m: float
    person_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverHealth:
    """A receiver's state since a moment: ok, moved (its level shifted), weak or deaf."""

    receiver: str
    state: str
    since_ns: int
    offset_db: float | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TagFlag:
    """A tag that behaves as no person can: `kind` is cloned or teleported."""

    kind: str
    t_ns: int
    tag: str
    zones: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneChange:
    """A live (causal) change of a tag's zone: `kind` is entered or left."""

    kind: str
    t_ns: int
    tag: str
    layer: str
    zone: str
    zone_p: float


@dataclass(slots=True, kw_only=True)
class Output:
    """What one step of the engine produced; lists are in order of event time."""

    positions: list[Positions] = field(default_factory=list)
    zone_changes: list[ZoneChange] = field(default_factory=list)
    visits_started: list[tuple[str, str, int]] = field(default_factory=list)
    dwells: list[Dwell] = field(default_factory=list)
    visits: list[Visit] = field(default_factory=list)
    shelf_events: list[ShelfEvent] = field(default_factory=list)
    shelf_visits: list[tuple[str, str]] = field(default_factory=list)
    """Shelf events and the visits of the people they were attributed to."""
    shelf_stock: list[ShelfStock] = field(default_factory=list)
    sensor_health: list[SensorHealth] = field(default_factory=list)
    occupancy: list[Occupancy] = field(default_factory=list)
    queues: list[QueueMinute] = field(default_factory=list)
    occupancy_estimates: list[OccupancyEstimate] = field(default_factory=list)
    heat: list[Heat] = field(default_factory=list)
    receiver_health: list[ReceiverHealth] = field(default_factory=list)
    tag_flags: list[TagFlag] = field(default_factory=list)

    def extend(self, other: "Output") -> None:
        """Append everything of another output."""
        for name in self.__dataclass_fields__:
            getattr(self, name).extend(getattr(other, name))


TABLES: dict[str, type[Any]] = {
    "dwells": Dwell,
    "visits": Visit,
    "transitions": Transition,
    "shelf_events": ShelfEvent,
    "shelf_stock": ShelfStock,
    "sensor_health": SensorHealth,
    "occupancy": Occupancy,
    "queues": QueueMinute,
    "occupancy_estimates": OccupancyEstimate,
    "heat": Heat,
    "receiver_health": ReceiverHealth,
}
