"""The MQTT topics of contract section 5: built in one place, parsed strictly.

Rules of the file: standard library only; a topic that does not follow the grammar
to the letter is not ours, and a name goes into a topic only after `is_name`.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from ingest.batch import Kind
from ingest.identifiers import is_name, is_pseudonym

PREFIX = "fanous/v1"
Leaf = Literal["readings", "taps", "samples", "status", "ack", "config"]
LEAVES: tuple[Leaf, ...] = get_args(Leaf)
LEAF_OF_KIND: dict[Kind, Leaf] = {"ble": "readings", "tap": "taps", "sample": "samples"}
KIND_OF_LEAF: dict[str, Kind] = {leaf: kind for kind, leaf in LEAF_OF_KIND.items()}
EVENT_NAMES = frozenset(
    {
        "zone.entered",
        "zone.left",
        "dwell.recorded",
        "visit.started",
        "visit.ended",
        "shelf.looked",
        "shelf.picked",
        "shelf.returned",
        "shelf.retracted",
        "shelf.low",
        "shelf.empty",
        "tag.tapped",
        "tag.cloned",
        "queue.long",
        "agent.silent",
        "sensor.fault",
        "receiver.fault",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A parsed topic.

    Attributes
    ----------
    family : what the topic is about
    agent : the agent's name, only for family "agent"
    leaf : the last word: of an agent's topic one of `LEAVES`, of an event its name, of a
        message the pseudonym, "live" for live
    """

    store: str
    family: Literal["agent", "event", "live", "message"]
    leaf: str
    agent: str = ""

    @property
    def kind(self) -> Kind | None:
        """The kind of the batches on this topic, None where no batches are."""
        return KIND_OF_LEAF.get(self.leaf) if self.family == "agent" else None


def agent_topic(store: str, agent: str, leaf: Leaf) -> str:
    """Return a topic of one agent.

    Parameters
    ----------
    store : the store's id
    agent : the agent's name
    leaf : one of `LEAVES`

    Returns
    -------
    topic : ready to publish on

    Raises
    ------
    ValueError
        A name breaks the grammar.
    """
    if leaf not in LEAVES:
        raise ValueError("an agent has no such topic")
    return f"{PREFIX}/{_name(store)}/agents/{_name(agent)}/{leaf}"


def batch_topic(store: str, agent: str, kind: Kind) -> str:
    """Return the topic on which an agent publishes batches of a kind.

    Parameters
    ----------
    store : the store's id
    agent : the agent's name
    kind : ble, tap or sample

    Returns
    -------
    topic : ready to publish on
    """
    return agent_topic(store, agent, LEAF_OF_KIND[kind])


def agents_filter(store: str, leaf: Leaf) -> str:
    """Return the subscription to one leaf of all agents of a store.

    Parameters
    ----------
    store : the store's id
    leaf : one of `LEAVES`

    Returns
    -------
    topic_filter : ready to subscribe to
    """
    if leaf not in LEAVES:
        raise ValueError("an agent has no such topic")
    return f"{PREFIX}/{_name(store)}/agents/+/{leaf}"


def event_topic(store: str, name: str) -> str:
    """Return the topic of an event, for example of ``zone.entered``.

    Parameters
    ----------
    store : the store's id
    name : one of `EVENT_NAMES`

    Returns
    -------
    topic : ready to publish on
    """
    if name not in EVENT_NAMES:
        raise ValueError("there is no such event")
    return f"{PREFIX}/{_name(store)}/events/{name}"


def live_topic(store: str) -> str:
    """Return the topic of the live picture.

    Parameters
    ----------
    store : the store's id

    Returns
    -------
    topic : ready to publish on
    """
    return f"{PREFIX}/{_name(store)}/live"


def message_topic(store: str, pseudonym: str) -> str:
    """Return the topic of messages to one wearer.

    Parameters
    ----------
    store : the store's id
    pseudonym : the wearer's

    Returns
    -------
    topic : ready to publish on
    """
    if not is_pseudonym(pseudonym):
        raise ValueError("messages go to a pseudonym")
    return f"{PREFIX}/{_name(store)}/messages/{pseudonym}"


def parse_topic(topic: str) -> Topic | None:
    """Parse a topic.

    Parameters
    ----------
    topic : as it came from the broker

    Returns
    -------
    parsed : None when it is not one of ours to the letter

    Examples
    --------
    >>> parse_topic("fanous/v1/demo/agents/pi-1/readings").kind
    'ble'
    >>> parse_topic("fanous/v1/demo/agents/../readings") is None
    True
    """
    head = f"{PREFIX}/"
    if not topic.startswith(head):
        return None
    match topic[len(head) :].split("/"):
        case [store, "agents", agent, leaf] if is_name(agent) and leaf in LEAVES:
            found = Topic(store=store, family="agent", agent=agent, leaf=leaf)
        case [store, "events", name] if name in EVENT_NAMES:
            found = Topic(store=store, family="event", leaf=name)
        case [store, "messages", tag] if is_pseudonym(tag):
            found = Topic(store=store, family="message", leaf=tag)
        case [store, "live"]:
            found = Topic(store=store, family="live", leaf="live")
        case _:
            return None
    return found if is_name(found.store) else None


def _name(text: str) -> str:
    if not is_name(text):
        raise ValueError("a name in a topic follows [a-z0-9][a-z0-9_.-]{0,63}")
    return text
