"""The shape of ``store.toml`` as msgspec structs; `ingest.store_file` checks the meaning."""

from msgspec import Struct, field


class RadioForm(Struct, frozen=True, forbid_unknown_fields=True):
    """The ``[radio]`` table."""

    map: str | None = None
    cell_m: float = 1.0


class RulesForm(Struct, frozen=True, forbid_unknown_fields=True):
    """The ``[rules]`` table; defaults, units and meaning are those of `analytics.store.Rules`."""

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


class FloorForm(Struct, frozen=True, forbid_unknown_fields=True):
    """One ``[[floor]]``."""

    id: str
    name: str | None = None
    outline_m: list[list[float]] | None = None
    level_m: float | None = None


class ConnectionEndForm(Struct, frozen=True, forbid_unknown_fields=True):
    """One ``[[connection.end]]``."""

    floor: str
    rect_m: list[float]


class ConnectionForm(Struct, frozen=True, forbid_unknown_fields=True):
    """One ``[[connection]]``: a rectangle for all its floors, or ends where places differ."""

    id: str
    kind: str
    floors: list[str] | None = None
    rect_m: list[float] | None = None
    end: list[ConnectionEndForm] = field(default_factory=list)


class ReceiverForm(Struct, frozen=True, forbid_unknown_fields=True):
    """One ``[[receiver]]``."""

    id: str
    position_m: list[float]
    agent: str | None = None
    offset_db: float = 0.0
    floor: str | None = None


class ZoneForm(Struct, frozen=True, forbid_unknown_fields=True):
    """One ``[[zone]]``."""

    id: str
    kind: str
    polygon_m: list[list[float]]
    name: str | None = None
    layer: str = "main"
    neighbours: list[str] | None = None
    floor: str | None = None


class ObstacleForm(Struct, frozen=True, forbid_unknown_fields=True):
    """One ``[[obstacle]]``: either a rectangle or a polygon."""

    rect_m: list[float] | None = None
    polygon_m: list[list[float]] | None = None
    floor: str | None = None


class SensorForm(Struct, frozen=True, forbid_unknown_fields=True):
    """One ``[[shelf.sensor]]``."""

    id: str
    kind: str
    capacity_g: float = 30000.0


class ProductForm(Struct, frozen=True, forbid_unknown_fields=True):
    """One ``[[shelf.product]]``."""

    gtin: str
    unit_g: float
    sensors: list[str]
    name: str | None = None
    category: str = ""
    price: str | None = None


class ShelfForm(Struct, frozen=True, forbid_unknown_fields=True):
    """One ``[[shelf]]``."""

    id: str
    zone: str
    rect_m: list[float] | None = None
    sensor: list[SensorForm] = field(default_factory=list)
    product: list[ProductForm] = field(default_factory=list)
    floor: str | None = None


class TapPointForm(Struct, frozen=True, forbid_unknown_fields=True):
    """One ``[[tap_point]]``."""

    id: str
    zone: str
    role: str


class StoreForm(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    schema: str
    id: str
    timezone: str
    name: str | None = None
    outline_m: list[list[float]] | None = None
    obstacles: str | None = None
    floorplan: str | None = None
    staff_tags: list[str] = field(default_factory=list)
    radio: RadioForm = field(default_factory=RadioForm)
    rules: RulesForm = field(default_factory=RulesForm)
    floor: list[FloorForm] = field(default_factory=list)
    connection: list[ConnectionForm] = field(default_factory=list)
    receiver: list[ReceiverForm] = field(default_factory=list)
    zone: list[ZoneForm] = field(default_factory=list)
    obstacle: list[ObstacleForm] = field(default_factory=list)
    shelf: list[ShelfForm] = field(default_factory=list)
    tap_point: list[TapPointForm] = field(default_factory=list)
