"""What the core knows about a store: frozen records, no files.

Positions are metres in the store's own frame, x to the right, y up the plan, z the height
above the floor that a thing stands on; all floors share x and y. Whoever reads a store
file (``ingest.store_file``) checks it; here it is taken as right. Indices used by arrays
elsewhere are positions in these tuples.
"""

from dataclasses import dataclass, field

Point = tuple[float, float]
Polygon = tuple[Point, ...]

ZONE_KINDS = (
    "entrance",
    "exit",
    "aisle",
    "shelf",
    "promo",
    "fitting",
    "service",
    "checkout",
    "queue",
    "staff",
    "outside",
)
CONNECTION_KINDS = ("stairs", "lift", "escalator")
LEVEL_STEP_M = 4.5
"""Height from one floor to the next when the store file does not say."""
TAP_ROLES = (
    "entry",
    "exit",
    "shelf",
    "info",
    "fitting",
    "checkout",
    "payment",
    "consent",
    "optout",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The times that define a tick, a dwell and a visit, in seconds, and who carries a tag.

    `tagged_share` is the known share of people with a tag [0-1], for estimates of everybody.
    """

    tick_s: float = 1.0
    lateness_s: float = 1.0
    lag_s: float = 10.0
    dwell_min_s: float = 5.0
    dwell_gap_s: float = 30.0
    flicker_s: float = 3.0
    visit_gap_s: float = 600.0
    visit_min_s: float = 30.0
    bounce_s: float = 120.0
    engaged_min_s: float = 8.0
    tagged_share: float = 1.0

    @property
    def tick_ns(self) -> int:
        """Length of a tick in nanoseconds."""
        return round(self.tick_s * 1e9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """One floor: its height above the lowest, and its outline where it differs from the store's."""

    id: str
    name: str = ""
    level_m: float = 0.0
    outline_m: Polygon | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionEnd:
    """Where a connection is on one of its floors: x0, y0, x1, y1 [m]."""

    floor: str
    rect_m: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Stairs, a lift or an escalator: a way between floors, one end on each of them."""

    id: str
    kind: str
    ends: tuple[ConnectionEnd, ...]

    @property
    def floors(self) -> tuple[str, ...]:
        """Ids of the floors that it joins."""
        return tuple(end.floor for end in self.ends)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """A radio that hears tags."""

    id: str
    position_m: tuple[float, float, float]
    agent: str | None = None
    offset_db: float = 0.0
    floor: str = "0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """A named part of the floor; zones of one layer do not overlap."""

    id: str
    name: str
    kind: str
    polygon_m: Polygon
    layer: str = "main"
    neighbours: tuple[str, ...] = ()
    floor: str = "0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """Something nobody can walk through: a wall, furniture, a shelf."""

    polygon_m: Polygon
    floor: str = "0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensor:
    """A load cell (`mass`) or a time-of-flight sensor (`range`) of a shelf."""

    id: str
    kind: str
    capacity_g: float = 30000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """What stands on a shelf: one unit's mass and the sensors under its facings."""

    gtin: str
    name: str
    category: str
    unit_g: float
    sensors: tuple[str, ...]
    price: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """A shelf with its sensors in order, side by side, and its products."""

    id: str
    zone: str
    rect_m: tuple[float, float, float, float] | None = None
    sensors: tuple[Sensor, ...] = ()
    products: tuple[Product, ...] = ()
    floor: str = "0"


@dataclass(frozen=True, slots=True, kw_only=True)
class TapPoint:
    """A place where a wristband or card is held to a reader."""

    id: str
    zone: str
    role: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A store: outline, floors, obstacles, receivers, zones, shelves, tap points and rules."""

    id: str
    name: str
    timezone: str
    outline_m: Polygon
    receivers: tuple[Receiver, ...]
    zones: tuple[Zone, ...] = ()
    obstacles: tuple[Obstacle, ...] = ()
    shelves: tuple[Shelf, ...] = ()
    tap_points: tuple[TapPoint, ...] = ()
    staff_tags: tuple[str, ...] = ()
    cell_m: float = 1.0
    radio_map: str | None = None
    rules: Rules = field(default_factory=Rules)
    floors: tuple[Floor, ...] = (Floor(id="0"),)
    connections: tuple[Connection, ...] = ()

    def floor_index(self, floor: str) -> int:
        """Return the position of a floor in `floors`.

        Parameters
        ----------
        floor : id of a floor

        Raises
        ------
        ValueError
            The store has no such floor.
        """
        for at, known in enumerate(self.floors):
            if known.id == floor:
                return at
        raise ValueError(f"store '{self.id}' has no floor '{floor}'")

    def outline_of(self, floor: str) -> Polygon:
        """Return the outline of a floor: its own, else the store's.

        Parameters
        ----------
        floor : id of a floor
        """
        return self.floors[self.floor_index(floor)].outline_m or self.outline_m

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the zone layers, `main` first; `("main",)` for a store without zones."""
        found = dict.fromkeys(zone.layer for zone in self.zones)
        return tuple(sorted(found or {"main": None}, key=lambda name: (name != "main", name)))

    @property
    def sensors(self) -> tuple[tuple[Shelf, Sensor], ...]:
        """Every sensor with its shelf, in the order of the file."""
        return tuple((shelf, sensor) for shelf in self.shelves for sensor in shelf.sensors)
