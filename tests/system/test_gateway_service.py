"""The gateway with a real broker and the real engine."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from gateway.settings import HttpSettings
from ingest.config import ConfigError
from tests.gateway.samples import ANNA, SECOND, T0, samples, settings_for, taps
from tests.system.gateway_rig import agent, gateway, walk
from tests.system.servers import free_port, mosquitto, wait_until

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("servers")]


@pytest.fixture
def broker(tmp_path):
    with mosquitto(tmp_path / "broker") as server:
        yield server


def _send(pi, batches):
    for batch in batches:
        pi.send(batch)
    wait_until(lambda: pi.acked() == len(batches), f"{len(batches)} batches are acknowledged")


def test_from_batches_to_rows_events_page_and_metrics(tmp_path, broker):
    settings = settings_for(tmp_path, port=broker.port)
    with agent(broker.port) as pi, gateway(settings) as gw:
        outputs = []
        gw.service.on_output(outputs.append)
        pi.send(b'{"state":"online","outbox":3}', "status")
        pi.send(taps(1, [(T0 + SECOND, "gate-1", ANNA)]), "taps")
        pi.send(samples(1, [(T0 + SECOND, "plate-1", 1000.0, None)]), "samples")
        _send(pi, walk(120))
        wait_until(lambda: pi.events("zone.entered"), "a zone is entered")
        wait_until(lambda: pi.events("tag.tapped"), "a tap is told")
        wait_until(
            lambda: any(topic.endswith("/live") for topic, _ in list(pi.messages)),
            "the live picture",
        )
        live = next(body for topic, body in list(pi.messages) if topic.endswith("/live"))
        assert {"t_ns", "zones", "queues", "alarms"} == set(live)
        gw.call(gw.service.drain_and_finish())
        counts = gw.service.counters()
        assert (120 * 20, 1, 1) == (counts["readings"], counts["taps"], counts["samples"])
        assert (2, 0, 0) == (counts["visits"], counts["duplicates"], counts["late"])
        assert counts["dwells"] >= 2
        assert counts["points_written"] >= 4
        visits = gw.get("/api/v1/visits")["rows"]
        assert 2 == len(visits)
        assert {"shoes>promo"} == {visit["path"] for visit in visits}
        dwells = gw.get("/api/v1/dwells")["rows"]
        assert {"shoes", "promo"} <= {dwell["zone"] for dwell in dwells}
        (transition,) = gw.get("/api/v1/transitions")["rows"]
        assert ("shoes", "promo", 2) == tuple(
            transition[name] for name in ("from_zone", "to_zone", "count")
        )
        summary = gw.get("/api/v1/summary")
        assert 2400 == summary["readings"]
        assert 3 == summary["agents"]["pi-1"]["outbox"]
        assert gw.get("/api/v1/heatmap")["rows"]
        assert gw.get("/readyz")["ok"]
        wait_until(lambda: len(pi.events("visit.ended")) == 2, "the visits' ends are told")
        assert sum(len(output.visits) for output in outputs) == 2


def test_duplicates_are_absorbed_and_acknowledged_again(tmp_path, broker):
    with agent(broker.port) as pi, gateway(settings_for(tmp_path, port=broker.port)) as gw:
        batches = walk(10)
        _send(pi, batches)
        before = len(pi.acks)
        pi.send(batches[3])
        wait_until(lambda: len(pi.acks) > before, "an acknowledgement of the duplicate")
        assert 10 == pi.acks[-1]["seq"]
        counts = gw.service.counters()
        assert (200, 1) == (counts["readings"], counts["duplicates"])


def test_a_restart_keeps_everything_and_doubles_nothing(tmp_path, broker):
    settings = settings_for(tmp_path, port=broker.port)
    batches = walk(120)
    with agent(broker.port) as pi:
        with gateway(settings):
            _send(pi, batches[:70])
        for batch in batches[70:90]:
            pi.send(batch)  # the broker keeps them for the gateway's session
        with gateway(settings) as gw:
            wait_until(lambda: pi.acked() == 90, "what came meanwhile is acknowledged")
            for batch in batches[90:]:
                pi.send(batch)
            wait_until(lambda: pi.acked() == 120, "everything is acknowledged")
            gw.call(gw.service.drain_and_finish())
            with_restart = gw.get("/api/v1/dwells")["rows"], gw.get("/api/v1/visits")["rows"]
            counts = gw.service.counters()
        assert (2400, 0) == (counts["readings"], counts["late"])
        entered = [event["id"] for event in pi.events("zone.entered")]
        assert len(set(entered)) == len(entered)
    alone = tmp_path / "alone"
    alone.mkdir()
    with agent(broker.port) as pi, gateway(settings_for(alone, port=broker.port)) as gw:
        _send(pi, batches)
        gw.call(gw.service.drain_and_finish())
        assert with_restart == (gw.get("/api/v1/dwells")["rows"], gw.get("/api/v1/visits")["rows"])


def test_a_broker_that_is_down_is_waited_for_and_told_once(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    from tests.system.gateway_rig import Gateway

    with mosquitto(tmp_path / "broker", started=False) as broker:
        gw = Gateway(settings_for(tmp_path, port=broker.port))
        try:
            wait_until(lambda: "cannot be reached" in caplog.text, "the outage is told")
            with pytest.raises(urllib.error.HTTPError) as error:
                gw.get("/readyz")
            assert 503 == error.value.code
            error.value.close()
            wait_until(lambda: gw.service.subscriber.outage_count >= 2, "another attempt")
            assert 1 == caplog.text.count("cannot be reached")
            broker.start()
            wait_until(lambda: gw.service.subscriber.is_connected, "the gateway comes by itself")
            broker.stop()
            wait_until(lambda: not gw.service.subscriber.is_connected, "the outage is seen")
            broker.start()
            wait_until(lambda: gw.service.subscriber.is_connected, "the gateway comes back")
            with agent(broker.port) as pi:
                _send(pi, walk(3))
            assert 2 == caplog.text.count("recovered")
        finally:
            gw.stop()


def test_the_stream_survives_a_restart_of_the_gateway(tmp_path, broker):
    port = free_port()
    settings = settings_for(tmp_path, port=broker.port, http=HttpSettings(port=port))
    for _ in range(2):
        with gateway(settings):
            url = f"http://127.0.0.1:{port}/api/v1/live"
            with urllib.request.urlopen(url, timeout=10) as stream:
                data = b""
                while not data.startswith(b"data: "):
                    data = stream.readline()
            message = json.loads(data.removeprefix(b"data: "))
            assert {"t_ns", "zones", "queues", "alarms", "tags", "events"} == set(message)


def test_it_stops_in_time_with_an_open_stream(tmp_path, broker):
    with gateway(settings_for(tmp_path, port=broker.port)) as gw:
        url = f"http://127.0.0.1:{gw.service.http_port}/api/v1/live"
        with urllib.request.urlopen(url, timeout=10) as stream:
            stream.readline()
            began = time.monotonic()
            gw.stop()
            assert time.monotonic() - began < 5.0


def test_a_silent_agent_is_told(tmp_path, broker):
    with agent(broker.port) as pi, gateway(settings_for(tmp_path, port=broker.port)) as gw:
        pi.send(b'{"state":"online"}', "status")
        wait_until(lambda: gw.get("/api/v1/summary")["agents"], "the agent is known")
        pi.send(b'{"state":"offline"}', "status")
        wait_until(lambda: pi.events("agent.silent"), "its silence is told")
        assert "pi-1" == pi.events("agent.silent")[0]["subject"]


def test_two_gateways_do_not_share_a_state_directory(tmp_path, broker):
    settings = settings_for(tmp_path, port=broker.port)
    with gateway(settings), pytest.raises(ConfigError, match="another gateway"), gateway(settings):
        pass


@pytest.fixture
def command(tmp_path):
    program = "import sys; from gateway import command; import argparse; "
    program += "from ingest.config import ConfigError\n"
    program += "parser = argparse.ArgumentParser(); command.configure(parser)\n"
    program += "try: code = command.run(parser.parse_args())\n"
    program += "except ConfigError as error: print(error, file=sys.stderr); code = 2\n"
    program += "raise SystemExit(code)"
    settings_for(tmp_path)
    started = []

    def start(action, text):
        config = tmp_path / "gateway.toml"
        config.write_text(
            'store = "store.toml"\nstate_dir = "state"\npseudonym_key_file = "fanous.key"\n' + text
        )
        process = subprocess.Popen(
            [sys.executable, "-c", program, action, "-c", str(config)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


def test_check_says_what_it_read(command):
    out, err = command("check", "").communicate(timeout=30)
    assert "" == err
    assert "store demo: 2 zones, 2 receivers, 1 shelves, 1 tap points" in out


def test_a_port_in_use_ends_with_2_before_anything_starts(command, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = command("run", f"[http]\nport = {taken.getsockname()[1]}\n")
        _, err = process.communicate(timeout=30)
    assert 2 == process.returncode
    assert "expected a free port" in err
    assert "Traceback" not in err
    assert not (tmp_path / "state" / "journal.sqlite").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_run_stops_in_order(command, broker, number, code):
    process = command("run", f'[http]\nport = 0\n[mqtt]\nurl = "mqtt://127.0.0.1:{broker.port}"\n')
    assert process.stdout.readline().startswith("http://127.0.0.1:")
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert code == process.returncode, err
    assert "gateway stopped" in err
    assert "Traceback" not in err


def _is_ready(url):
    try:
        with urllib.request.urlopen(f"{url}readyz", timeout=10) as reply:
            return reply.status == 200
    except urllib.error.HTTPError as error:
        error.close()
        return False


def _visits_started(pi):
    return {event["id"] for event in pi.events("visit.started")}


def test_kill_9_loses_and_doubles_nothing(command, broker, tmp_path):
    text = (
        f'clock = "data"\n[http]\nport = 0\n[mqtt]\nurl = "mqtt://127.0.0.1:{broker.port}"\n'
        "[journal]\ncommit_ms = 20\n"
    )
    batches = walk(120)
    with agent(broker.port) as pi:
        for first in range(0, 120, 40):
            process = command("run", text)
            address = process.stdout.readline().strip()
            wait_until(lambda url=address: _is_ready(url), "the gateway is ready")
            seen = pi.acked()
            for batch in batches[first : first + 40]:
                pi.send(batch)
            if first < 80:
                wait_until(lambda seen=seen: pi.acked() > seen, "some batches are acknowledged")
                process.kill()
                process.communicate(timeout=30)
        wait_until(lambda: pi.acked() == 120, "everything is acknowledged")
        with urllib.request.urlopen(f"{address}api/v1/summary", timeout=10) as reply:
            summary = json.loads(reply.read())
        assert (2400, 0) == (summary["readings"], summary["late"])
        wait_until(lambda: len(_visits_started(pi)) >= 2, "both visits' beginnings are told")
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
        assert 0 == process.returncode, err
        assert 2 == len(_visits_started(pi))  # told at least once, with one id each
