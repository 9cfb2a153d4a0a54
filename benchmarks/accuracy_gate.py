"""When a figure of `accuracy.py` counts as worse than it was written down."""

Figures = dict[str, float | None]

SHARES_UP = ("accuracy", "macro_f1", "sure", "sure_right")
"""Figures of which more is better; of all others less is."""
WORSE_SHARE, WORSE_M, WORSE_ABSOLUTE, WORSE_SWITCHES = 0.05, 0.02, 0.01, 1.0
"""A figure may worsen by 5 per cent; else by 2 cm, a hundredth or one switch, if that is more."""


def worsened(expected: Figures, found: Figures) -> list[str]:
    """Return a sentence for every figure that is worse than expected.

    Parameters
    ----------
    expected : names as `flat_figures` gives them
    found : the same names, and perhaps more
    """
    sentences = []
    for name, before in expected.items():
        prefix, _, figure = name.rpartition(" / ")
        kind = figure.rpartition(".")[2]
        if name not in found:
            sentences.append(f"{name}: expected {before}, is not measured any more")
            continue
        now = found[name]
        if before is None:
            continue
        if now is None:
            sentences.append(f"{name}: expected {before}, got nothing")
            continue
        if kind == "true_switches":
            worse, allowed = abs(now - before), 0.0
        elif kind == "switches":
            true = expected[f"{prefix} / true_switches"] or 0.0
            worse, allowed = (
                abs(now - true) - abs(before - true),
                max(WORSE_SHARE * true, WORSE_SWITCHES),
            )
        else:
            worse = before - now if kind in SHARES_UP else now - before
            least = WORSE_M if kind.endswith("_m") else WORSE_ABSOLUTE
            allowed = max(WORSE_SHARE * before, least)
        if worse > allowed + 1e-9:
            sentences.append(f"{name}: expected {before:g}, got {now:g}")
    return sentences
