"""Broker addresses; edge, gateway and simulators try the wrong ones through their own keys."""

import pytest

from ingest.broker import BrokerAddress, broker_address
from ingest.config import ConfigError


@pytest.mark.parametrize(
    ("url", "host", "port", "tls"),
    [
        ("mqtt://shop", "shop", 1883, False),
        ("mqtts://shop", "shop", 8883, True),
        ("mqtt://127.0.0.1:99/", "127.0.0.1", 99, False),
        ("mqtts://[::1]:99", "::1", 99, True),
    ],
)
def test_an_address_is_split_and_written_again(url, host, port, tls):
    found = broker_address(url)
    assert BrokerAddress(host=host, port=port, tls=tls) == found
    assert found == broker_address(str(found))


def test_a_message_names_the_key_and_never_the_password():
    with pytest.raises(ConfigError, match=r"--mqtt: expected mqtt://host:port") as wrong:
        broker_address("http://shop", key="--mqtt")
    assert "http://shop" in str(wrong.value)
    with pytest.raises(ConfigError, match="expected no user") as secret:
        broker_address("mqtt://anna:secret@shop", key="--mqtt")
    assert "secret" not in str(secret.value)
