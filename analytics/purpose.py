"""What a visit was for, from its shape: a transparent first model.

Scores are linear in a few features of the visit and go through a softmax. The
weights are set by judgement from the published notions of mission and browsing
trips, not learned; the probability says how clear the scores are, not how often
they are right. Visits with too little to judge stay `unknown`.
"""

import math

PURPOSES = ("mission", "browse", "compare", "social", "unknown")


def purpose_of(
    *,
    visit_s: float,
    dwells: int,
    zones: int,
    directness: float | None,
    hesitations: int,
    picks: int,
    returns: int,
) -> tuple[str, float | None]:
    """Judge what a visit was for.

    Parameters
    ----------
    visit_s : float [s]
    dwells, zones : int, stays and distinct zones
    directness : float [0-1] or None
    hesitations, picks, returns : int

    Returns
    -------
    purpose, purpose_p : one of `PURPOSES` and its share, None for unknown

    Examples
    --------
    >>> purpose_of(visit_s=120, dwells=3, zones=3, directness=0.9, hesitations=0, picks=1,
    ...            returns=0)[0]
    'mission'
    """
    if dwells < 2 or directness is None:
        return "unknown", None
    minutes = visit_s / 60
    score = {
        "mission": 3.0 * directness + 0.8 * min(picks, 1) - 0.25 * minutes - 0.3 * hesitations,
        "browse": 0.35 * zones + 0.2 * minutes - 1.5 * directness,
        "compare": 0.8 * hesitations + 1.2 * returns - 0.5,
    }
    top = max(score.values())
    total = sum(math.exp(value - top) for value in score.values())
    best = max(score, key=lambda name: score[name])
    return best, round(math.exp(score[best] - top) / total, 3)
