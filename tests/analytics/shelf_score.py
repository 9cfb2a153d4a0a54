"""The scorer of the shelf reference, section 0.

Rules of the file: an event is right if shelf and sign agree and its onset is within
2.5 s, one to one; same product and sign is merged within 2 s (picks) or 8 s (adds)
first; products with a dead plate among their facings are left out.
"""

from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np

from tests.analytics.shelf_signals import START_NS, Condition, Move


@dataclass(frozen=True, kw_only=True)
class Score:
    truths: int
    found: int
    events: int
    right: int
    product: int
    quantity: int
    strict: int
    onset_s: tuple
    plate_h: float
    misses: tuple
    false: tuple

    @property
    def recall(self):
        return self.found / max(1, self.truths)

    @property
    def precision(self):
        return self.right / max(1, self.events)


def score(signals, events, c=None):
    """Score final events by the rules of the reference (section 0)."""
    c = Condition() if c is None else c
    number = {s.id: k for k, s in enumerate(signals.store.shelves)}
    index = {p.gtin: i for s in signals.store.shelves for i, p in enumerate(s.products)}
    seen = []
    for e in events:
        if e.status != "final" or e.kind not in ("pick", "return", "restock", "foreign", "unknown"):
            continue
        sign = {"pick": -1, "return": 1, "restock": 1}.get(e.kind, int(np.sign(e.delta_g)))
        product = index.get(e.gtin, -1) if e.kind in ("pick", "return", "restock") else -1
        seen.append(
            Move(
                t_s=(e.t_ns - START_NS) / 1e9, shelf=number[e.shelf], sign=sign,
                product=product, quantity=e.quantity,
            )
        )  # fmt: skip
    truth, seen = _merged(signals.truth), _merged(seen)
    skipped = signals.dead_products
    by_shelf = defaultdict(list)
    for m in seen:
        by_shelf[m.shelf].append(m)
    used, pairs, misses = set(), [], []
    for want_dead in (False, True):
        for m in truth:
            if ((m.shelf, m.product) in skipped) != want_dead:
                continue
            options = [
                (abs(e.t_s - m.t_s) + (1.0 if e.product != m.product else 0.0), k)
                for k, e in enumerate(by_shelf[m.shelf])
                if (m.shelf, k) not in used and e.sign == m.sign and abs(e.t_s - m.t_s) <= 2.5
            ]
            if options:
                k = min(options)[1]
                used.add((m.shelf, k))
                if not want_dead:
                    pairs.append((m, by_shelf[m.shelf][k]))
            elif not want_dead:
                misses.append(m)
    false = [
        e
        for s, moves in by_shelf.items()
        for k, e in enumerate(moves)
        if (s, k) not in used and (s, e.product) not in skipped
    ]
    product = sum(a.product == b.product and not a.alien for a, b in pairs)
    quantity = sum(_right(a, b) and not a.alien for a, b in pairs)
    local = sum(not a.alien for a, _ in pairs)
    return Score(
        truths=len(pairs) + len(misses), found=len(pairs), events=len(pairs) + len(false),
        right=len(pairs), product=product, quantity=quantity, strict=local,
        onset_s=tuple(abs(a.t_s - b.t_s) for a, b in pairs),
        plate_h=len(signals.dead) * c.secs / 3600, misses=tuple(misses), false=tuple(false),
    )  # fmt: skip


def _right(a, b):
    slack = 0 if a.quantity < 3 else max(1, 0.05 * a.quantity)
    return a.product == b.product and abs(a.quantity - b.quantity) <= slack


def _merged(moves):
    out, last = [], {}
    for m in sorted(moves, key=lambda m: m.t_s):
        key = (m.shelf, m.product, m.sign)
        window = 2.0 if m.sign < 0 else 8.0
        if key in last and m.t_s - last[key][1] <= window:
            at = last[key][0]
            out[at] = replace(out[at], quantity=out[at].quantity + m.quantity)
            last[key] = (at, m.t_s)
        else:
            last[key] = (len(out), m.t_s)
            out.append(m)
    return out
