"""What a shelf watch says and sees: records between plate steps and shelf events.

Rules of the file: frozen records only; ticks are numbers of 0.2 s since the epoch,
plates are positions on their shelf. The kinds are those of the Shelf reference,
section 2.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """Something that happened on a shelf, before it has a name and an id.

    Attributes
    ----------
    kind : item, touch, move, foreign, unknown or rezero
    status : provisional, final or retracted
    onset : tick in which it began
    product : index into the planogram, -1 = none
    units : signed number of units, 0 when there is no item
    plate : position of the plate with most of the weight
    """

    kind: str
    status: str
    onset: int
    product: int
    units: int
    delta_g: float
    p: float
    plate: int


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The plates of one shelf at one tick, as a watch needs them.

    Attributes
    ----------
    noise_g : shape (plates,) [g]
    moving_onset : shape (plates,), onset tick of moving plates, huge elsewhere
    blind : shape (plates,), bool, stuck or silent
    take_rest : books and returns the small change of the plates at given positions
    """

    noise_g: Floats
    moving_onset: Ints
    blind: NDArray[np.bool_]
    take_rest: Callable[[Ints], Floats]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """An add that may still turn out to be a hand, or grow into a restock.

    Attributes
    ----------
    happened : the event so far
    step_g, last_g : shape (plates,), all of it, and the last part that joined [g]
    last : the last part alone
    end : tick in which the last part had come
    release : tick in which it becomes final
    """

    happened: Happening
    step_g: Floats
    last_g: Floats
    last: Happening
    end: int
    release: int
