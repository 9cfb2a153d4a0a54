"""Recall, precision, product, quantity and speed of the shelf core, per condition.

Run from the top of the checkout:
    .venv/bin/python benchmarks/shelf_condition.py default "5 Hz" --seeds 5 --secs 600
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from analytics.shelf import ShelfCore
from tests.analytics.shelf_score import score
from tests.analytics.shelf_signals import CONDITIONS, START_NS, make_signals


def run(signals, step_s=30.0):
    """Return the core, its output parts and the CPU seconds they took."""
    core = ShelfCore(signals.store)
    order = np.argsort(signals.t_ns, kind="stable")
    t_ns, sensor, value = signals.t_ns[order], signals.sensor[order], signals.value[order]
    edges = np.arange(t_ns[0], t_ns[-1] + step_s * 1e9, step_s * 1e9).astype(np.int64)
    at = np.searchsorted(t_ns, edges)
    events, stock, health = [], [], []
    began = time.process_time()
    for k, edge in enumerate(edges):
        part = slice(at[k - 1] if k else 0, at[k])
        core.add(t_ns[part], sensor[part], value[part])
        out = core.advance(int(edge))
        events += out.events
        stock += out.stock
        health += out.health
    core.add(t_ns[at[-1] :], sensor[at[-1] :], value[at[-1] :])
    out = core.finish()
    cpu = time.process_time() - began
    return events + out.events, stock + out.stock, health + out.health, cpu


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("conditions", nargs="*", default=["default", "5 Hz"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=101)
    parser.add_argument("--secs", type=float, default=600.0)
    parser.add_argument("--shelves", type=int, default=20)
    parser.add_argument("--idle", action="store_true")
    parser.add_argument("--show", action="store_true", help="print misses and false events")
    args = parser.parse_args()
    names = list(CONDITIONS) if args.conditions == ["all"] else args.conditions
    print(
        f"{'condition':18}  recall  precis  product quantity  false/h  onset p50 p95  n     x real"
    )
    for name in names:
        c = replace(CONDITIONS[name], secs=args.secs, shelves=args.shelves)
        scores, cpu = [], 0.0
        stuck = [0, 0, 0]
        for seed in range(args.first_seed, args.first_seed + args.seeds):
            signals = make_signals(seed, c, idle=args.idle)
            events, _, health, spent = run(signals)
            cpu += spent
            s = score(signals, events, c)
            scores.append(s)
            named = {h.sensor for h in health if h.state == "stuck"}
            ids = [x.id for _, x in signals.store.sensors]
            flagged = np.array([i in named for i in ids])
            stuck[0] += int((flagged & signals.dead).sum())
            stuck[1] += int(signals.dead.sum())
            stuck[2] += int((flagged & ~signals.dead).sum())
            if args.show:
                show(seed, s, events)
        total = {
            k: sum(getattr(s, k) for s in scores)
            for k in ("truths", "found", "events", "right", "product", "quantity", "strict")
        }
        onset = np.array([x for s in scores for x in s.onset_s] or [np.nan])
        hours = sum(s.plate_h for s in scores)
        print(
            f"{name:18}  {total['found'] / max(1, total['truths']):.3f}   "
            f"{total['right'] / max(1, total['events']):.3f}   "
            f"{total['product'] / max(1, total['strict']):.3f}   "
            f"{total['quantity'] / max(1, total['strict']):.3f}    "
            f"{(total['events'] - total['right']) / hours:.3f}    "
            f"{np.percentile(onset, 50):.2f} {np.percentile(onset, 95):.2f}     "
            f"{total['truths']:5d} {args.secs * len(scores) / cpu:6.0f}  "
            f"stuck {stuck[0]}/{stuck[1]} false {stuck[2]}",
            flush=True,
        )


def show(seed, s, events):
    for m in s.misses:
        near = [
            f"{e.kind}/{e.status} {e.gtin and e.gtin[5:]} x{e.quantity} {e.delta_g} "
            f"at {(e.t_ns - START_NS) / 1e9:.1f}"
            for e in events
            if e.shelf == f"shelf-{m.shelf}" and abs((e.t_ns - START_NS) / 1e9 - m.t_s) < 12
        ]
        print(f"  {seed} miss {m}\n       {near}")
    for m in s.false:
        near = [
            f"{e.kind}/{e.status} {e.gtin and e.gtin[5:]} x{e.quantity} {e.delta_g} "
            f"at {(e.t_ns - START_NS) / 1e9:.1f}"
            for e in events
            if e.shelf == f"shelf-{m.shelf}" and abs((e.t_ns - START_NS) / 1e9 - m.t_s) < 12
        ]
        print(f"  {seed} FALSE {m}\n       {near}")


if __name__ == "__main__":
    main()
