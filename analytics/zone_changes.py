"""Live changes of zone: who entered or left what, as soon as it is decided."""

import numpy as np
from numpy.typing import NDArray

from analytics.blocks import LIVE, Block, Layers
from analytics.rows import ZoneChange
from analytics.seats import Seats
from analytics.store import Store


class ZoneChanges:
    """Makes `ZoneChange` rows from decisions.

    Parameters
    ----------
    store, layers : the engine's parts
    """

    def __init__(self, store: Store, layers: Layers) -> None:
        self._store = store
        # By decision within a layer; the last two are "in none" and "not decided".
        self._zones = [[*zones.tolist(), -1, -1] for zones in layers.zones]

    def of(
        self,
        block: Block,
        tick: int,
        before: NDArray[np.int16],
        evidence: NDArray[np.bool_],
        seat: NDArray[np.int64],
        names: list[str],
    ) -> list[ZoneChange]:
        """Return what changed in a block in one tick.

        Parameters
        ----------
        block : after its live answer was recorded
        tick : int
        before : shape (layers, lanes), int16, the decisions of the tick before
        evidence : shape (lanes,), bool; only evidence changes a zone
        seat : shape (lanes,), int64, seat of each lane of the block
        names : pseudonym of every seat
        """
        after = block.decided[LIVE]
        slot = tick % block.ring
        found = []
        for layer, lane in np.argwhere((before != after) & evidence).tolist():
            zone_p = float(block.zone_p[LIVE, slot, layer, lane])
            for kind, decided in (("left", before), ("entered", after)):
                change = self._change(
                    kind, layer, decided[layer, lane], tick, names[seat[lane]], zone_p
                )
                found += change
        return found

    def gone(self, seats: Seats, seat: int, decided: NDArray[np.int16]) -> list[ZoneChange]:
        """Return the zones that a tag left because its visit is over.

        Parameters
        ----------
        seats : the engine's
        seat : whose visit ended
        decided : shape (layers,), int16, the zones decided last
        """
        tick, name = int(seats.last[seat]), seats.names[seat]
        return [
            change
            for layer in range(len(self._zones))
            for change in self._change("left", layer, decided[layer], tick, name, 0.0)
        ]

    def _change(
        self, kind: str, layer: int, decided: np.int16, tick: int, tag: str, zone_p: float
    ) -> list[ZoneChange]:
        at = self._zones[layer][decided]
        if at < 0:
            return []
        zone = self._store.zones[at]
        return [
            ZoneChange(
                kind=kind,
                t_ns=(tick + 1) * self._store.rules.tick_ns,
                tag=tag,
                layer=zone.layer,
                zone=zone.id,
                zone_p=round(zone_p, 3),
            )
        ]
