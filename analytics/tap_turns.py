"""Where taps end a visit: an exit ends it, an entry begins another one.

Rules of the file: taps are taken by time, never by arrival; an ending is kept as the
last tick of the visit that ends ("cut"), and is carried out when that tick settles.
"""

import numpy as np

from analytics.seats import Seats
from analytics.tick_buffer import Columns

ENTRY_SPLIT_S = 60.0
"""An entry tap starts a new visit when the running one is older than this."""


def in_order(taps: Columns) -> list[int]:
    """Return the order of taps by time, so that those of one tag never depend on arrival.

    Parameters
    ----------
    taps : t_ns, tap_point, tag
    """
    order: list[int] = np.lexsort((taps[1], taps[2], taps[0])).tolist()
    return order


def cut_by_entry(
    tick: int,
    taps: Columns,
    roles: list[str],
    seats: Seats,
    cuts: dict[int, list[int]],
    tick_s: float,
) -> None:
    """End visits at their evidence before this tick where an entry tap begins another.

    Parameters
    ----------
    tick : int, the tick of the taps, whose evidence is not noted in `seats` yet
    taps : t_ns, tap_point, tag
    roles : of the tap points
    seats : with the newest evidence before this tick
    cuts : per seat the ticks after which its visit ends; is added to
    tick_s : float [s]
    """
    seat_of = seats.of(taps[2])
    left: set[int] = set()
    for at in in_order(taps):
        seat, role = int(seat_of[at]), roles[taps[1][at]]
        if role == "exit":
            left.add(seat)
        elif role == "entry" and seat >= 0 and seat not in left:
            age_s = (tick - int(seats.first[seat])) * tick_s
            last = int(seats.last[seat])
            before = cuts.get(seat, [])
            if age_s > ENTRY_SPLIT_S and (not before or before[-1] < last):
                cuts[seat] = [*before, last]
