"""Matrices that are zero far from their diagonal, as a few dense blocks.

Cells run along the shorter side of a floor first, so a walk of one tick reaches
only a band of them; multiplying band by band costs what is reached, not all cells.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]

Block = tuple[int, int, int, int, F32]

ROWS = 60
"""Rows of a block: fewer fit the band better, more use the processor better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bands:
    """A matrix as blocks of consecutive rows, each with the columns that matter to it.

    Attributes
    ----------
    shape : (rows, columns)
    blocks : first and last row, first and last column (lasts excluded) and the values
    more : further blocks of the same rows, whose products are added
    """

    shape: tuple[int, int]
    blocks: tuple[Block, ...]
    more: tuple[Block, ...] = ()

    def times(self, values: F32, out: F32) -> F32:
        """Multiply from the left.

        Parameters
        ----------
        values : shape (columns, lanes), float32
        out : shape (rows, lanes), float32; is overwritten

        Returns
        -------
        out : the product
        """
        for row, row_end, column, column_end, block in self.blocks:
            np.matmul(block, values[column:column_end], out=out[row:row_end])
        for row, row_end, column, column_end, block in self.more:
            out[row:row_end] += block @ values[column:column_end]
        return out


def in_bands(matrix: NDArray[np.floating], *, rows: int = ROWS, tolerance: float = 0.0) -> Bands:
    """Cut a matrix into bands.

    Parameters
    ----------
    matrix : shape (rows, columns)
    rows : int, > 0, rows of a block
    tolerance : float, entries up to this are taken as zero where no larger one lies beyond

    Examples
    --------
    >>> import numpy as np
    >>> bands = in_bands(np.eye(4), rows=2)
    >>> [block[:4] for block in bands.blocks]
    [(0, 2, 0, 2), (2, 4, 2, 4)]
    """
    blocks = []
    for row in range(0, len(matrix), rows):
        part = matrix[row : row + rows]
        used = np.flatnonzero((np.abs(part) > tolerance).any(axis=0))
        first, end = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 1)
        values = np.ascontiguousarray(part[:, first:end], np.float32)
        blocks.append((row, row + len(part), first, end, values))
    return Bands(shape=(len(matrix), matrix.shape[1]), blocks=tuple(blocks))
