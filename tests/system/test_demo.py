"""`fanous demo`: the whole product, as its users start it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from fanous import demo
from fanous.program import main
from simulators.private_bus import find_daemon

pytestmark = pytest.mark.system
KEYS = {
    "seconds", "page", "readings", "taps", "samples", "visits", "dwells", "shelf_events",
    "points_written", "lost", "duplicates", "zone_accuracy_live", "zone_accuracy_final",
    "dwell_error", "shelf_precision", "shelf_recall",
}  # fmt: skip


WITHOUT_SERVERS = """
import sys
import fanous.embedded_broker
import simulators.private_bus
from fanous.program import main
fanous.embedded_broker.find_mosquitto = lambda: None
simulators.private_bus.find_daemon = lambda: None
sys.exit(main(["demo", *sys.argv[1:]]))
"""


def started(*arguments, program=("-m", "fanous", "demo")):
    return subprocess.Popen(
        [sys.executable, *program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )


def assert_summary(summary):
    assert KEYS == set(summary)
    assert summary["lost"] == 0
    assert summary["duplicates"] == 0
    assert summary["readings"] > 10_000
    assert summary["samples"] > 5_000
    assert summary["taps"] > 5
    assert summary["visits"] >= 3
    assert summary["dwells"] >= 10
    assert summary["zone_accuracy_final"] > 0.65
    assert summary["shelf_precision"] > 0.6


def test_it_ends_by_itself_with_nothing_lost_and_tells_how_right_it_was():
    process = started("--for", "16", "--port", "0", "--headless", "--json", "--seed", "5")
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    summary = json.loads(out)
    assert_summary(summary)
    assert summary["page"] is None
    assert "35 readers and scales on pseudo-terminals" in err
    assert ("adverts over bleak" in err) == (find_daemon() is not None)
    assert "not read by anybody" not in err
    assert "WARNING" not in err
    assert "Traceback" not in err


def test_it_runs_without_any_server_installed():
    words = ("--for", "16", "--port", "0", "--headless", "--json", "--seed", "2")
    process = started(*words, program=("-c", WITHOUT_SERVERS))
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    assert "amqtt, embedded" in err
    assert "no dbus-daemon on this machine" in err
    assert "35 readers and scales on pseudo-terminals" in err
    assert_summary(json.loads(out))


def test_an_interruption_ends_it_cleanly_with_the_summary():
    process = started("--port", "0", "--json")
    address = ""
    while "http://" not in address:
        address = process.stderr.readline()
        assert process.poll() is None
    url = address.split("work at ")[1].split(" ")[0]
    deadline = time.monotonic() + 30
    readings = 0
    while not readings and time.monotonic() < deadline:
        with urllib.request.urlopen(f"{url}api/v1/summary", timeout=5) as answer:
            readings = json.load(answer)["readings"]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert json.loads(out)["lost"] == 0


def test_a_port_in_use_is_said_and_nothing_starts():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = started("--for", "5", "--port", str(port))
        out, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert str(port) in err
    assert "Traceback" not in err
    assert out == ""


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(["--speed", "0"], "--speed"), (["--for", "-1"], "--for"), (["--port", "70000"], "--port")],
)
def test_wrong_numbers_are_named(arguments, word, capsys):
    assert main(["demo", *arguments]) == 2
    assert word in capsys.readouterr().err
    assert demo.DEFAULT_PORT == 8480
