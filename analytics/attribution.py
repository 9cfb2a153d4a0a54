"""Who did it: a shelf event's tag from where every tag was, with "nobody" as an answer.

Rules of the file: a pure function of presence; people without a tag are a mass of
their own, so that a lone tag far from the shelf never wins by being the only one.
The idea is the attribution of the numeric reference (mean posterior mass within
three seconds of the event); the untagged mass is ours.
"""

import numpy as np
from numpy.typing import NDArray

LEAST_P = 0.5


def attribute(presence: NDArray[np.float64], *, untagged: float = 0.1) -> tuple[int, float]:
    """Return the tag that most probably caused a shelf event, and how probable that is.

    Parameters
    ----------
    presence : shape (tags,), each candidate's mean posterior mass of being at the
        shelf (its zone or the region of reach) within three seconds of the event [0-1]
    untagged : float [>= 0], expected number of people at the shelf who carry no tag

    Returns
    -------
    tag : index of the winner, -1 when nobody reaches one half
    p : its probability [0-1], or that of "unattributed" when there is no winner

    Raises
    ------
    ValueError
        `untagged` is negative or not finite, or a presence is outside 0-1.

    Notes
    -----
    Exactly one of the people at the shelf did it, each as likely as the other. Tag i is
    there with probability q_i, independently; the people without a tag are a Poisson
    number U with mean `untagged`. Then P(i did it) is q_i E[1 / (1 + others + U)], and
    E[1 / (1 + n)] is the integral of z^n over 0-1: the generating functions of the tags
    (1 - q_j + q_j z) and of U (exp(-untagged (1 - z))) multiply under one integral.
    All is conditional on somebody having been there, since the event happened. O(tags).

    Examples
    --------
    >>> import numpy as np
    >>> attribute(np.array([0.9, 0.05]))
    (0, 0.914)
    >>> attribute(np.array([0.8, 0.8]))
    (-1, 0.521)
    """
    q = np.asarray(presence, np.float64)
    if not (np.isfinite(untagged) and untagged >= 0):
        raise ValueError(f"untagged: expected a number of people >= 0, got {untagged}")
    if q.ndim != 1 or not bool(((q >= 0) & (q <= 1)).all()):
        raise ValueError("presence: expected one probability in 0-1 per tag; clip it first")
    if not len(q):
        return -1, 1.0
    node, weight = np.polynomial.legendre.leggauss(16)
    z = 0.5 * (node + 1.0)
    away = 1.0 - np.multiply.outer(1.0 - z, q)  # (nodes, tags): 1 - q + q z, above 0
    together = away.prod(axis=1) * np.exp(-untagged * (1.0 - z))
    share = q * ((0.5 * weight * together) @ (1.0 / away))
    anybody = 1.0 - float(np.prod(1.0 - q)) * float(np.exp(-untagged))
    p = share / anybody if anybody > 0 else share
    best = int(np.argmax(p))
    if p[best] < LEAST_P:
        return -1, round(1.0 - float(p[best]), 3)
    return best, round(float(p[best]), 3)
