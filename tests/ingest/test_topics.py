import pytest

from ingest.topics import (
    EVENT_NAMES,
    LEAVES,
    Topic,
    agent_topic,
    agents_filter,
    batch_topic,
    event_topic,
    live_topic,
    message_topic,
    parse_topic,
)


@pytest.mark.parametrize("leaf", LEAVES)
def test_agent_topics_round_trip(leaf):
    topic = agent_topic("demo", "pi-1", leaf)
    assert Topic(store="demo", family="agent", agent="pi-1", leaf=leaf) == parse_topic(topic)


@pytest.mark.parametrize(
    ("kind", "leaf"), [("ble", "readings"), ("tap", "taps"), ("sample", "samples")]
)
def test_batches_have_a_topic_by_kind(kind, leaf):
    assert f"fanous/v1/demo/agents/pi-1/{leaf}" == batch_topic("demo", "pi-1", kind)
    assert kind == parse_topic(batch_topic("demo", "pi-1", kind)).kind


@pytest.mark.parametrize("name", sorted(EVENT_NAMES))
def test_event_topics_round_trip(name):
    assert name == parse_topic(event_topic("demo", name)).leaf


def test_the_other_topics():
    assert live_topic("demo") == "fanous/v1/demo/live"
    assert parse_topic("fanous/v1/demo/live").family == "live"
    assert agents_filter("demo", "readings") == "fanous/v1/demo/agents/+/readings"
    topic = message_topic("demo", "p_abcdefghijklmnop")
    assert parse_topic(topic).family == "message"
    assert parse_topic(topic).kind is None


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "fanous/v1",
        "fanous/v1/",
        "fanous/v2/demo/live",
        "fanous/v1/demo",
        "/fanous/v1/demo/live",
        "fanous/v1/demo/live/",
        "fanous/v1/Demo/live",
        "fanous/v1/+/live",
        "fanous/v1/demo/agents/pi-1",
        "fanous/v1/demo/agents/../readings",
        "fanous/v1/demo/agents/pi-1/secrets",
        "fanous/v1/demo/agents/pi-1/readings\n",
        "fanous/v1/demo/agents/pi-1/readings/x",
        "fanous/v1/demo/events/zone.exploded",
        "fanous/v1/demo/messages/anna",
        "$SYS/broker/uptime",
    ],
)
def test_foreign_topics_are_not_ours(topic):
    assert parse_topic(topic) is None


def test_builders_refuse_what_breaks_the_grammar():
    for build in (
        lambda: agent_topic("demo", "pi/1", "ack"),
        lambda: agent_topic("de+mo", "pi-1", "ack"),
        lambda: agent_topic("demo", "pi-1", "secrets"),
        lambda: agents_filter("demo", "#"),
        lambda: event_topic("demo", "zone.exploded"),
        lambda: message_topic("demo", "anna"),
    ):
        with pytest.raises(ValueError, match=r"name|such|pseudonym"):
            build()
