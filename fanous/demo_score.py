"""How right the demo was: what the gateway found against what the simulator knows."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics.quality import score
from analytics.rows import STAGES, ZONE_STATES, Output, Positions
from analytics.store import Store
from ingest.identifiers import pseudonym
from simulators.chunk import Chunk
from simulators.places import products_of

ROWS_MOST = 8_000_000
"""Rows of truth and of positions kept for scoring; beyond, the demo is scored on its start."""


class Scoring:
    """Collects a demo's outputs and truth.

    Parameters
    ----------
    store : the store
    key : of its pseudonyms
    """

    def __init__(self, store: Store, key: bytes) -> None:
        self._store = store
        self._key = key
        self._products = products_of(store)
        self._out = Output()
        self._tags: list[NDArray[np.object_]] = []
        self._truth: list[dict[str, NDArray[Any]]] = []
        self._shelf_truth: list[dict[str, NDArray[Any]]] = []
        self._rows = 0

    def take_truth(self, chunk: Chunk) -> None:
        """Keep what really happened in a second."""
        self._rows += len(chunk.truth.t_ns)
        if self._rows > ROWS_MOST:
            return
        tags = np.array([pseudonym(tag, self._key) for tag in chunk.tags] or [""], dtype=object)
        truth, shelf = chunk.truth, chunk.shelf_truth
        zones = np.array([*(zone.id for zone in self._store.zones), ""], dtype=object)
        self._truth.append(
            {
                "t_ns": truth.t_ns,
                "tag": tags[truth.tag],
                "x_m": truth.x_m,
                "y_m": truth.y_m,
                "zone": zones[truth.zone],
            }
        )
        placed = [self._products[at] for at in shelf.product.tolist()]
        self._shelf_truth.append(
            {
                "t_ns": shelf.t_ns,
                "shelf": np.array(
                    [self._store.shelves[found[0]].id for found in placed], dtype=object
                ),
                "gtin": np.array([found[1].gtin for found in placed], dtype=object),
                "kind": np.array(shelf.kind, dtype=object),
                "quantity": shelf.quantity,
                "tag": np.where(shelf.tag >= 0, tags[shelf.tag], ""),
            }
        )

    def take_output(self, out: Output, name_of: Callable[[NDArray[np.int32]], list[str]]) -> None:
        """Keep what the gateway's engine said; called in its thread.

        Parameters
        ----------
        out : one step's output
        name_of : names of tag ids, asked at once because ids are used again later
        """
        if self._rows > ROWS_MOST:
            return
        for part in out.positions:
            self._tags.append(np.array(name_of(part.tag), dtype=object))
        self._out.extend(out)

    def figures(self) -> dict[str, float | None]:
        """Return the accuracy figures of the demo's summary."""
        truth, shelf_truth = _joined(self._truth), _joined(self._shelf_truth)
        events = [e for e in self._out.shelf_events if e.status == "final"]
        scores = score(
            positions=self._positions(),
            truths=[truth],
            dwells=_table(
                self._out.dwells, "tag", "layer", "zone", "start_ns", "end_ns", "dwell_s"
            ),
            visits=_table(self._out.visits, "visit", "tag", "start_ns", "end_ns", "path"),
            shelf_events=_table(events, "t_ns", "shelf", "gtin", "kind", "status", "quantity"),
            shelf_truth=shelf_truth,
            zones=self._store.zones,
            rules=self._store.rules,
        )
        zones = scores.zones or {}
        return {
            "zone_accuracy_live": zones["live"].accuracy if "live" in zones else None,
            "zone_accuracy_final": zones["final"].accuracy if "final" in zones else None,
            "dwell_error": scores.dwells.error if scores.dwells else None,
            "shelf_precision": scores.shelf.precision if scores.shelf else None,
            "shelf_recall": scores.shelf.recall if scores.shelf else None,
        }

    def _positions(self) -> dict[str, NDArray[Any]]:
        parts = self._out.positions
        zones = np.array([*(zone.id for zone in self._store.zones), ""], dtype=object)
        columns = {
            field: np.concatenate([getattr(part, field) for part in parts] or [np.empty(0)])
            for field in Positions.__dataclass_fields__
        }
        coded = {
            "stage": np.array(STAGES, dtype=object),
            "layer": np.array(self._store.layers, dtype=object),
            "zone": zones,
            "zone_state": np.array(ZONE_STATES, dtype=object),
        }
        columns["tag"] = np.concatenate([*self._tags, np.empty(0, dtype=object)])
        for field, values in coded.items():
            columns[field] = values[columns[field].astype(np.int64)]
        return columns


def _joined(parts: list[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _table(rows: list[Any], *names: str) -> dict[str, NDArray[Any]]:
    columns: dict[str, NDArray[Any]] = {}
    for name in names:
        values = [getattr(row, name) for row in rows]
        is_text = not values or isinstance(values[0], str | None)
        if name.endswith("_ns") or name == "quantity":
            columns[name] = np.array(values, dtype=np.int64)
        elif is_text:
            columns[name] = np.array([value or "" for value in values], dtype=object)
        else:
            columns[name] = np.array(values)
    return columns
