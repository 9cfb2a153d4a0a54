import ssl

import pytest

from edge.check_broker import Broker, ask_broker, broker_of, check_broker
from edge.settings import EdgeSettings, MqttSettings
from ingest.config import ConfigError
from tests.edge.fake_broker import fake_broker


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (b"\x20\x02\x00\x04", "refuses the user name or password"),
        (b"\x20\x02\x00\x05", "does not authorise"),
        (b"HTTP/1.1 400", "does not answer as an MQTT broker"),
        (b"", "does not answer"),
    ],
)
def test_a_broker_that_does_not_let_us_in(answer, sentence):
    with (
        fake_broker(answer) as (port, _),
        pytest.raises(ConnectionError, match=sentence),
    ):
        ask_broker(Broker(host="127.0.0.1", port=port), timeout_s=0.3)


def test_a_broker_that_hangs_or_speaks_no_tls():
    with fake_broker(b"") as (port, _):
        tls = Broker(host="127.0.0.1", port=port, tls=ssl.create_default_context())
        with pytest.raises(ConnectionError, match=r"127\.0\.0\.1"):
            ask_broker(tls, timeout_s=0.3)


def test_the_broker_of_a_configuration():
    mqtt = MqttSettings(url="mqtt://shop.example:2883", username="pi-1")
    found = broker_of(EdgeSettings(store="demo", agent="pi-1", state_dir="state", mqtt=mqtt))
    assert ("shop.example", 2883, "pi-1", None) == (
        found.host,
        found.port,
        found.username,
        found.password,
    )


def test_a_wrong_address_is_a_finding():
    def make():
        raise ConfigError("[mqtt] url: expected mqtt://host:port")

    found = check_broker(make)
    assert (False, "[mqtt] url: expected mqtt://host:port") == (found.ok, found.found)
    assert "start the broker" in found.remedy
