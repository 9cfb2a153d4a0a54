"""The fuzzer's own parts: that it sees an escape, and what it says; not the million inputs."""

import json
import random
import subprocess
from types import SimpleNamespace

import pytest

from benchmarks import fuzz
from benchmarks.fuzz_targets import PIECES, PiecesMatter, Target, _stream, targets_of
from firmware_profiles.decoded import REASONS, Decoded, Rejected
from firmware_profiles.registry import load_registry

REGISTRY = load_registry()
TARGETS = targets_of(REGISTRY)
ARGS = SimpleNamespace(runs=10, seed=1)


def test_there_is_one_for_every_profile_and_scheme():
    assert set(TARGETS) - set(REGISTRY.profiles) == {
        "sealed:bthome-v2-ccm",
        "sealed:mibeacon-v5",
        "sealed:ntag424-sun",
    }
    assert set(REGISTRY.profiles) <= set(TARGETS)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_first_inputs_reach_a_measurement(name):
    target = TARGETS[name]
    found = [one for seed in target.seeds for one in target.run(seed)]
    assert any(isinstance(one, Decoded) for one in found)
    assert max(map(len, target.seeds)) <= target.most_bytes


def test_pieces_are_between_one_byte_and_eleven():
    assert len(PIECES) == 16
    assert {size for sizes in PIECES for size in sizes} == set(range(1, 12))


def test_a_stream_that_minds_its_pieces_is_seen():
    class Careless:
        def feed(self, data):
            return [Rejected("noise")]

        def finish(self):
            return []

    run = _stream(SimpleNamespace(stream=lambda _options: Careless()))
    with pytest.raises(PiecesMatter):
        run(b"\x00" + bytes(20))


def child(monkeypatch, *, code, found=None, artifact=None):
    """Stand in for the process of atheris."""

    def run(command, **_):
        out = command[command.index("--out") + 1]
        if found is not None:
            fuzz.Path(out).write_text(json.dumps(found), encoding="utf-8")
        if artifact is not None:
            (fuzz.Path(out).parent / "timeout-1").write_bytes(artifact)
        return SimpleNamespace(
            returncode=code, stderr=b"ERROR: libFuzzer: timeout after 10 seconds"
        )

    monkeypatch.setattr(subprocess, "run", run)
    return fuzz.fuzz(Target(name="x", seeds=[b"a"], most_bytes=4, run=lambda _: []), ARGS)


def test_counts_come_back_from_the_child(monkeypatch):
    found = {"inputs": 10, "accepted": 2, "rejected": {"noise": 8}, "rate": 5.0}
    assert child(monkeypatch, code=0, found=found) == found
    line = fuzz.line_of("x", found)
    assert "10 inputs" in line
    assert "rejected: noise 8" in line


def test_a_hang_is_an_escape_with_its_input(monkeypatch):
    found = child(monkeypatch, code=70, artifact=b"\x01\x02")
    assert found["input_hex"] == "0102"
    assert "ended with 70" in found["escape"]
    assert "input 0102" in fuzz.line_of("x", found)


@pytest.mark.parametrize(
    ("found", "code"),
    [
        ({"inputs": 1, "accepted": 0, "rejected": {}, "rate": 1.0}, 0),
        ({"escape": "ValueError: x", "input_hex": "00"}, 1),
    ],
)
def test_an_escape_is_the_exit_code(monkeypatch, capsys, found, code):
    monkeypatch.setattr(fuzz, "fuzz", lambda _target, _args: found)
    monkeypatch.setattr(fuzz.importlib.util, "find_spec", lambda _name: True)
    monkeypatch.setattr("sys.argv", ["fuzz", "--quick", "mt_sics"])
    assert code == fuzz.main()
    assert f"1 decoders, {code} with an escape" in capsys.readouterr().out


@pytest.mark.parametrize(("argv", "there"), [(["nothing"], True), ([], False)])
def test_what_cannot_be_fuzzed_is_said(monkeypatch, capsys, argv, there):
    monkeypatch.setattr(fuzz.importlib.util, "find_spec", lambda _name: there or None)
    monkeypatch.setattr("sys.argv", ["fuzz", *argv])
    assert fuzz.main() == 2
    assert ("known: " if there else "make fuzz") in capsys.readouterr().err


def test_inputs_near_the_first_ones_are_answered():
    rng = random.Random(3)
    for target in TARGETS.values():
        for _ in range(50):
            data = bytearray(rng.choice(target.seeds))
            data[rng.randrange(len(data))] = rng.randrange(256)
            reasons = {getattr(one, "reason", "noise") for one in target.run(bytes(data))}
            assert reasons <= REASONS - {"broken-profile"}
