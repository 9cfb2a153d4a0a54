"""Sums over people: minutes, estimates and heat, side by side.

Rules of the file: corrected beliefs are counted once, when they are computed; rows are
given when everything of their minute or quarter is settled.
"""

import numpy as np
from numpy.typing import NDArray

from analytics.cells import CellGrid
from analytics.crowd_estimates import CrowdEstimates
from analytics.heat import HeatMap
from analytics.minutes import Minutes, Running, nowhere
from analytics.rows import Output
from analytics.store import Store


class Tallies:
    """Everything that is counted over all tags.

    Parameters
    ----------
    store, grid : the store and its cells

    Attributes
    ----------
    minutes : people and queues minute by minute
    """

    def __init__(self, store: Store, grid: CellGrid) -> None:
        self.minutes = Minutes(store)
        self._crowd = CrowdEstimates(store)
        self._heat = HeatMap(store, grid)

    def seen(self, tick: int) -> None:
        """Note that something was heard in a tick."""
        self.minutes.seen(tick)
        self._crowd.seen(tick)

    def note(
        self,
        tick: int,
        weight: NDArray[np.float32],
        zone_mass: NDArray[np.float32],
        cell_ticks: NDArray[np.float32],
    ) -> None:
        """Take the corrected belief of a block in one tick.

        Parameters
        ----------
        tick : int
        weight : shape (lanes,), ticks that each lane's evidence speaks for
        zone_mass : shape (zones, lanes), float32 [0-1]
        cell_ticks : shape (cells,), float32 [ticks], weighted sum of the beliefs
        """
        self._crowd.note(tick, weight, zone_mass)
        self._heat.note(tick, cell_ticks)

    def advance(self, settled_ns: int, out: Output, running: Running = nowhere) -> None:
        """Give the rows of everything that is complete.

        Parameters
        ----------
        settled_ns : int [ns], everything before is settled
        out : receives the rows
        running : says where an open visit stays
        """
        people, queues = self.minutes.advance(settled_ns, running)
        out.occupancy += people
        out.queues += queues
        out.occupancy_estimates += self._crowd.advance(settled_ns)
        out.heat += self._heat.advance(settled_ns)
