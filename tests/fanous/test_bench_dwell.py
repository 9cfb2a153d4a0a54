"""Dwell sessions by other means: what is installed agrees with us, and the rest is left out."""

import dataclasses

import numpy as np
import pytest

from analytics.sessions import sessions
from fanous.benchmarks import dwell, dwell_peers
from fanous.benchmarks.dwell_peers import PEERS, make_labelled

ROWS = make_labelled(tags=12, seconds=300.0, seed=5, flicker=0.01)
INSTALLED = [name for name, peer in PEERS.items() if not peer.missing()]


@pytest.mark.parametrize("name", INSTALLED)
@pytest.mark.parametrize("by_time", [False, True])
def test_a_peer_finds_the_same_sessions(name, by_time):
    rows = ROWS.by_time() if by_time else ROWS
    peer = PEERS[name]
    ours = len(sessions(rows.t_ns, rows.tag, rows.zone, rules=dwell.ALIKE))
    assert ours > 30
    theirs = peer.count(peer.prepare(rows), dwell.ALIKE)
    assert abs(theirs - ours) <= (0.2 * ours if peer.differs else 0)


def test_labelled_rows_are_in_order_and_have_silences_and_flickers():
    tag_step, t_step = np.diff(ROWS.tag), np.diff(ROWS.t_ns)
    assert np.all(tag_step >= 0)
    assert np.all(t_step[tag_step == 0] >= 0)
    assert (t_step[tag_step == 0] > 30 * 10**9).any()
    calm = make_labelled(tags=12, seconds=300.0, seed=5)
    assert np.count_nonzero(np.diff(calm.zone)) < np.count_nonzero(np.diff(ROWS.zone))
    assert np.all(np.diff(ROWS.by_time().t_ns) >= 0)


def test_who_is_not_installed_is_left_out_with_a_sentence(monkeypatch):
    absent = dataclasses.replace(PEERS["plain-python"], needs=("no_such_package",))
    monkeypatch.setitem(dwell.PEERS, "absent", absent)
    told = []
    figures = {figure.name: figure for figure in dwell.measure(quick=True, say=told.append)}
    assert "absent" not in figures["dwell.rows"].peer
    assert "plain-python" in figures["dwell.rows"].peer
    assert any(
        line == "absent left out: no_such_package not installed; try make bench-peers"
        for line in told
    )


def test_a_difference_is_told_with_its_reason():
    told = []
    odd = dataclasses.replace(
        PEERS["plain-python"], count=lambda table, rules: 3, differs="it counts to three"
    )
    assert dwell._peer("odd", odd, ROWS, told.append) > 0
    assert told[0].startswith(f"odd: {len(ROWS):,} rows, 3 sessions, we ")
    assert told[0].endswith(": it counts to three")


def test_a_peer_for_few_rows_gets_whole_tags():
    seen = []

    def count(rows, rules):
        seen.append(rows)
        return 0

    few = dwell_peers.Peer(
        needs=(), rows_most=len(ROWS) // 3, prepare=lambda rows: rows, count=count
    )
    dwell._peer("few", few, ROWS, lambda _: None)
    assert np.unique(seen[0].tag).tolist() == [0, 1, 2, 3]
    assert len(seen[0]) == len(ROWS) // 3
