"""A short selection of the fault suite: what `fanous bench faults --quick` does, fault by fault.

The whole of it runs in `make nightly`. Root, loop devices and servers that are missing
make a test skip with the fault's own sentence; a server that is missing fails where CI=true.
"""

import os
import threading

import pytest

from fanous.benchmarks.faults import as_table, measure
from fanous.faults.catalogue import FAULTS, run_fault
from fanous.faults.outcome import NotHereError, Outcome
from ingest.config import ConfigError

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("faults")]


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "name",
    ["kills", "power", "full-agent", "full-gateway", "sessions", "copies", "cut-off", "poison"],
)
def test_nothing_is_lost_and_nothing_is_there_twice(name):
    told = []
    try:
        outcome = run_fault(name, quick=True, seed=1, say=told.append)
    except NotHereError as error:
        if os.environ.get("CI") == "true" and "apt-get install" in str(error):
            pytest.fail(str(error))
        pytest.skip(str(error))
    assert () == outcome.violations
    assert (0, 0) == (outcome.lost, outcome.duplicated)
    assert (0, 0) == (outcome.rows_wrong, outcome.points_wrong)
    assert outcome.times > 0
    assert outcome.emitted > 10_000


def test_no_fault_leaves_a_mount_or_a_thread_behind():
    with open("/proc/mounts", encoding="utf-8") as mounts:
        assert "fanous-fault-" not in mounts.read()
    assert not [thread for thread in threading.enumerate() if thread.name == "proxy"]


def test_a_name_that_is_no_fault_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r"unknown fault 'kils' \(did you mean 'kills'"):
        measure(quick=True, say=lambda _text: None, only=["kils"])


def test_a_broken_promise_is_a_figure_and_stands_in_the_table(monkeypatch, capsys):
    broken = Outcome(
        name="kills", done="kill -9", times=3, emitted=100, lost=2, violations=("2 rows are lost",)
    )
    monkeypatch.setattr("fanous.benchmarks.faults.run_fault", lambda *_args, **_more: broken)
    told = []
    figures = measure(quick=True, say=told.append, only=["kills"])
    values = {figure.name: figure.value for figure in figures}
    assert 1 == values["faults.kills.violations"]
    assert 2 == values["faults.kills.lost"]
    assert "kills BROKEN: 2 rows are lost" in told
    assert "1 BROKEN" in capsys.readouterr().err
    assert "holds" in as_table([Outcome(name="kills", done="nothing", times=0)])


def test_what_is_missing_is_left_out_with_a_sentence_and_refused_when_asked_for(monkeypatch):
    def missing(*_args, **_more):
        raise NotHereError("expected nft on the PATH, found none")

    monkeypatch.setattr("fanous.benchmarks.faults.run_fault", missing)
    told = []
    assert () == measure(quick=True, say=told.append)
    assert len(FAULTS) == sum("left out: expected nft" in text for text in told)
    with pytest.raises(ConfigError, match="fault packet-loss: expected nft"):
        measure(quick=True, say=told.append, only=["packet-loss"])
