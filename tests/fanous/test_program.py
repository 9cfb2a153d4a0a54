"""The program: verbs found by name, help with an example, exit codes, no tracebacks."""

import importlib.metadata
import importlib.util
import io
import sys

import pytest

from fanous import program
from fanous.program import VERBS, main
from fanous.version import version
from ingest.config import ConfigError

PRESENT = [verb for verb, (module, _) in VERBS.items() if importlib.util.find_spec(module)]


class Verb:
    """A verb whose work is given by the test."""

    __doc__ = "Do something.\n\nMore."

    def __init__(self, work):
        self.run = work

    def configure(self, parser):
        parser.add_argument("--number", type=int)
        parser.epilog = "example: fanous trial"


@pytest.fixture
def trial(monkeypatch):
    """Return a function that runs `fanous trial` with some work."""

    def start(work, *words):
        monkeypatch.setitem(VERBS, "trial", ("trial_module", "a verb for tests"))
        monkeypatch.setitem(sys.modules, "trial_module", Verb(work))
        return main(["trial", *words])

    return start


def failing(error):
    def work(_args):
        raise error

    return work


def test_most_verbs_are_there():
    assert {"analyze", "evaluate", "survey", "store", "simulate", "edge", "gateway"} <= set(PRESENT)


@pytest.mark.parametrize("verb", PRESENT)
def test_every_verbs_help_has_an_example_and_says_what_it_does(verb, capsys):
    assert 0 == main([verb, "--help"])
    told = capsys.readouterr()
    assert "example: fanous " + verb in told.out
    assert f"usage: fanous {verb}" in told.out
    assert len(told.out.split("\n\n")[1]) > 10
    assert "" == told.err


@pytest.mark.parametrize("verb", PRESENT)
def test_a_wrong_argument_is_wrong_usage(verb, capsys):
    assert 2 == main([verb, "--no-such-thing"])
    told = capsys.readouterr()
    assert "" == told.out
    assert f"usage: fanous {verb}" in told.err


@pytest.mark.parametrize("words", [["--help"], ["-h"]])
def test_the_overview_names_every_verb(words, capsys):
    assert 0 == main(words)
    told = capsys.readouterr().out
    assert "example: fanous demo" in told
    for verb, (_, line) in VERBS.items():
        assert verb in told
        assert line.split()[0] in told


def test_the_version(capsys):
    assert 0 == main(["--version"])
    assert f"fanous {importlib.metadata.version('fanous')}\n" == capsys.readouterr().out
    assert importlib.metadata.version("fanous") == version()


def test_a_bare_tree_has_no_version(monkeypatch):
    def absent(_name):
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(importlib.metadata, "version", absent)
    assert "unknown" == version()


def test_without_a_verb_it_is_wrong_usage(capsys):
    assert 2 == main([])
    told = capsys.readouterr()
    assert "" == told.out
    assert "expected a VERB, got nothing" in told.err
    assert "analyze" in told.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["analyse"], "unknown verb 'analyse' (did you mean 'analyze'?)"),
        (["xxxx"], "unknown verb 'xxxx'; known are analyze, bench"),
        ([""], "unknown verb ''; known are"),
        (["--bogus"], "usage: fanous"),
        (["-x", "analyze"], "usage: fanous"),
    ],
)
def test_an_unknown_verb_is_wrong_usage(words, sentence, capsys):
    assert 2 == main(words)
    told = capsys.readouterr()
    assert sentence in told.err
    assert "" == told.out


def test_what_a_verb_returns_is_the_exit_code(trial):
    assert 0 == trial(lambda _args: 0)
    assert 1 == trial(lambda _args: 1)
    assert 7 == trial(lambda args: args.number, "--number", "7")
    assert 2 == trial(lambda _args: 0, "--number", "many")


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (ConfigError("x.toml: expected a, got b"), 2, "fanous trial: x.toml: expected a, got b\n"),
        (KeyboardInterrupt(), 130, "fanous trial: interrupted\n"),
        (OSError(28, "No space left on device", "/t/x"), 1, "fanous trial: /t/x: No space left"),
        (OSError("odd"), 1, "fanous trial: OSError\n"),
        (BrokenPipeError(32, "Broken pipe"), 1, "fanous trial: Broken pipe\n"),
        (
            ModuleNotFoundError("no", name="paho.mqtt"),
            2,
            "fanous trial: needs the package 'paho.mqtt', which is not installed; install ",
        ),
    ],
)
def test_errors_become_sentences_and_codes(trial, capsys, error, code, sentence):
    assert code == trial(failing(error))
    told = capsys.readouterr()
    assert told.err.startswith(sentence)
    assert ("", 1) == (told.out, told.err.count("\n"))


@pytest.mark.parametrize(
    "error", [ValueError("a slip"), ModuleNotFoundError("no", name="gateway.nothing")]
)
def test_a_programming_error_is_loud(trial, error):
    with pytest.raises(type(error)):
        trial(failing(error))


class Broken(io.StringIO):
    """A stdout that takes nothing."""

    def flush(self):
        raise OSError(28, "No space left on device")


def test_a_stdout_that_takes_nothing_is_told(trial, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", Broken())
    assert 1 == trial(lambda _args: 0)
    assert "fanous trial: No space left on device\n" == capsys.readouterr().err


def test_without_stdout_it_works(trial, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert 0 == trial(lambda _args: print("x") or 0)


def test_signs_that_a_terminal_cannot_show_are_escaped(trial, monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    assert 0 == trial(lambda _args: print("1 m², \udcff") or 0)
    assert b"1 m\\xb2, \\udcff\n" == raw.getvalue()


def test_one_thread_per_blas_unless_the_user_says_otherwise(trial, monkeypatch):
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    assert 1 == trial(lambda _args: int(program.os.environ["OPENBLAS_NUM_THREADS"]))
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    assert 2 == trial(lambda _args: int(program.os.environ["OPENBLAS_NUM_THREADS"]))
