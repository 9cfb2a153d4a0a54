"""How much memory an engine's state takes: per tag that is followed or at rest, and fixed.

Rules of the file: sizes are those of arrays, found by walking the engine's objects, or of
fresh parts whose arrays have no tag yet, so that no shape is written down twice. Small
Python objects are measured on a specimen.
"""

import sys
from typing import Any

import numpy as np

from analytics.dwell import DwellMachine
from analytics.position_rows import Said
from analytics.seats import Seats
from analytics.store import Store
from analytics.visits import OpenVisit, Walks

_NAME = "p_" + "a" * 16
_ENTRY_BYTES = 104
"""A place in a dictionary, with its key: the mean between two growths."""
_ID_BYTES = 8
"""Where the seat of a tag's id is noted."""
_SETTLING_BYTES = 1 + 8 + 8
"""Whether a seat's visit is open, its last evidence and when it counts."""


class StateSizes:
    """Knows what tags take of one engine.

    Parameters
    ----------
    store : the store
    lane_bytes : int, what a lane's beliefs and answers take
    by_lane : parts of a new engine with arrays by lane, all of them without any lane yet
    hold : int, ticks that are kept of what was said of a tag at rest
    """

    def __init__(
        self, store: Store, *, lane_bytes: int, by_lane: tuple[object, ...], hold: int
    ) -> None:
        layers = len(store.layers)
        self._lane = lane_bytes + _column_bytes(by_lane)
        of_seats = Seats(layers)
        self._seat = _ID_BYTES + _SETTLING_BYTES + _column_bytes(Walks())
        self._seat += layers * _column_bytes(DwellMachine(store.rules))
        self._seat += sum(
            array.nbytes // len(of_seats)
            for array in vars(of_seats).values()
            if isinstance(array, np.ndarray) and array.shape[-1] == len(of_seats)
        )
        self._visit, self._held = _visit_bytes(), _held_bytes(layers, hold)

    def of(self, engine: object, *, lanes: int, seats: int) -> dict[str, int]:
        """Return what an engine takes.

        Parameters
        ----------
        engine : whose objects are walked
        lanes, seats : int, how many there are by now, used or not

        Returns
        -------
        bytes : `followed_tag` and `resting_tag`, what one more of them takes, and `fixed`, all
            arrays that no tag has: the store's matrices, working arrays, sums
        """
        fixed = array_bytes(engine) - lanes * self._lane - seats * self._seat
        return {
            "followed_tag": self._lane + self._seat + self._visit,
            "resting_tag": self._seat + self._visit + self._held,
            "fixed": max(fixed, 0),
        }


def array_bytes(root: object) -> int:
    """Return the bytes of all arrays that can be reached from an object, each counted once.

    Parameters
    ----------
    root : an object of the core, a container, or an array
    """
    seen: set[int] = set()
    waiting: list[Any] = [root]
    total = 0
    while waiting:
        each = waiting.pop()
        if isinstance(each, np.ndarray):
            while isinstance(each.base, np.ndarray):
                each = each.base
            total += 0 if id(each) in seen else each.nbytes
            seen.add(id(each))
        elif id(each) not in seen:
            seen.add(id(each))
            waiting += _inside(each)
    return total


def _inside(thing: object) -> list[Any]:
    if isinstance(thing, dict):
        return list(thing.values())
    if isinstance(thing, list | tuple | set | frozenset):
        return list(thing)
    if not type(thing).__module__.startswith("analytics."):
        return []
    slots = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
    found = [getattr(thing, name) for name in slots if hasattr(thing, name)]
    return found + list(getattr(thing, "__dict__", {}).values())


def _column_bytes(part: object) -> int:
    """Return what one more column takes of a part whose arrays have none yet."""
    found = 0
    waiting = [part]
    seen: set[int] = set()
    while waiting:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, Store):
            continue
        seen.add(id(each))
        if not isinstance(each, np.ndarray):
            waiting += _inside(each)
        elif each.shape[-1:] == (0,):
            found += int(np.prod(each.shape[:-1], dtype=np.int64)) * each.itemsize
    return found


def _held_bytes(layers: int, hold: int) -> int:
    said = Said(
        place=np.empty((2, 3, hold), np.float32),
        floor=np.empty((2, hold), np.uint8),
        zone=np.empty((2, layers, hold), np.int16),
        zone_p=np.empty((2, layers, hold), np.float32),
    )
    arrays = (said.place, said.floor, said.zone, said.zone_p)
    # Each is kept as a turned view: a second header.
    headers = 2 * len(arrays) * sys.getsizeof(np.empty(0)[:0])
    return array_bytes(said) + headers + sys.getsizeof(said) + _ENTRY_BYTES


def _visit_bytes() -> int:
    visit = OpenVisit(visit=_NAME, tag=_NAME, first=0, last=0)
    lists = sys.getsizeof(visit.dwells) + sys.getsizeof(visit.waiting)
    return sys.getsizeof(visit) + lists + 2 * sys.getsizeof(_NAME) + _ENTRY_BYTES
