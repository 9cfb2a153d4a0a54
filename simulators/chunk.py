"""What a simulation yields: one second of a virtual store, as columns.

Rules of the file: frozen records of numpy arrays; a tag is an index into
``Chunk.tags`` of the same chunk, everything else an index into the store's tuples.
Rows are in order of time within a chunk, and chunks follow each other without gaps.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Int16 = NDArray[np.int16]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """What receivers heard: `rssi_dbm` float32 of whole dB."""

    t_ns: Int64
    receiver: Int16
    tag: Int32
    rssi_dbm: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Taps:
    """Wristbands held to a reader."""

    t_ns: Int64
    tap_point: Int16
    tag: Int32


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """What shelf sensors said: grams of a `mass` sensor, millimetres of a `range` sensor.

    `sensor` is an index into ``Store.sensors``.
    """

    t_ns: Int64
    sensor: Int16
    value: Float


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """Where everybody really was; `zone` of layer main, -1 = in none."""

    t_ns: Int64
    tag: Int32
    x_m: Float
    y_m: Float
    zone: Int16


@dataclass(frozen=True, slots=True, kw_only=True)
class ShelfTruth:
    """What really happened at the shelves.

    `product` is an index into the store's products, shelf by shelf, `kind` one of
    pick, return, restock, `quantity` a count above 0; `tag` -1 = nobody who wears one.
    """

    t_ns: Int64
    product: Int32
    kind: tuple[str, ...]
    quantity: Int32
    tag: Int32


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Everything of ``start_ns <= t_ns < end_ns``.

    Attributes
    ----------
    tags : names of the tags that occur in this chunk
    new_tags : those of them that no earlier chunk held
    """

    start_ns: int
    end_ns: int
    tags: tuple[str, ...]
    new_tags: tuple[str, ...]
    readings: Readings
    taps: Taps
    samples: Samples
    truth: Truth
    shelf_truth: ShelfTruth
