"""Events: what the engine found out, as CloudEvents 1.0 JSON.

Rules of the file: an event's id is the same whenever the same fact is found again,
so receivers may drop what they know; `data` has the columns of the matching file;
names and topics are those of contract section 5. Nothing here sends anything.
CloudEvents 1.0.2, JSON event format, structured mode.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

import msgspec

from analytics.rows import (
    Dwell,
    Output,
    QueueMinute,
    ReceiverHealth,
    SensorHealth,
    ShelfEvent,
    ShelfStock,
    TagFlag,
    Visit,
)
from analytics.store import Store
from ingest.topics import event_topic

_SHELF_EVENT_NAMES = {"look": "shelf.looked", "pick": "shelf.picked", "return": "shelf.returned"}
_NO_VISIT: Mapping[str, Any] = dict.fromkeys(field.name for field in fields(Visit))
"""The columns of a visit of which nothing is known yet."""
_FAULTS = ("stuck", "noisy", "offset", "silent")
CLONE_ALARM_NS = 600 * 1_000_000_000
"""A cloned tag is an alarm for as long as this after it was found."""
_CLONES_MAX = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event before it is encoded; `name` is the last part of its topic."""

    name: str
    id: str
    t_ns: int
    subject: str
    data: Mapping[str, Any]

    def as_cloud_event(self, store: str, *, time: str | None = None) -> dict[str, Any]:
        """Return the event as the object of CloudEvents' JSON format.

        Parameters
        ----------
        store : the store's id
        time : `rfc3339` of `t_ns`, where it is known
        """
        return {
            "specversion": "1.0",
            "type": f"io.fanous.{self.name}.v1",
            "source": f"/stores/{store}",
            "id": self.id,
            "time": rfc3339(self.t_ns) if time is None else time,
            "subject": self.subject,
            "datacontenttype": "application/json",
            "data": dict(self.data),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """An encoded event and its topic."""

    topic: str
    payload: bytes


def encode_event(event: Event, store: str) -> Message:
    """Return an event ready for the broker.

    Parameters
    ----------
    event : the event
    store : the store's id
    """
    payload = msgspec.json.encode(event.as_cloud_event(store))
    return Message(topic=event_topic(store, event.name), payload=payload)


def encode_events(events: Iterable[Event], store: str) -> list[Message]:
    """Return events ready for the broker, as `encode_event` would one by one, in less time.

    Parameters
    ----------
    events : in any order; those of a tick share their time
    store : the store's id
    """
    topics: dict[str, str] = {}
    times: dict[int, str] = {}
    encode = msgspec.json.Encoder().encode
    messages = []
    for event in events:
        topic = topics.get(event.name)
        if topic is None:
            topic = topics[event.name] = event_topic(store, event.name)
        time = times.get(event.t_ns)
        if time is None:
            time = times[event.t_ns] = rfc3339(event.t_ns)
        payload = encode(event.as_cloud_event(store, time=time))
        messages.append(Message(topic=topic, payload=payload))
    return messages


def rfc3339(t_ns: int) -> str:
    """Return a moment as RFC 3339 text in UTC, with as many decimals as it needs.

    Parameters
    ----------
    t_ns : [ns]

    Examples
    --------
    >>> rfc3339(1_764_000_000_500_000_000)
    '2025-11-24T16:00:00.5Z'
    """
    seconds, rest = divmod(t_ns, 1_000_000_000)
    text = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()
    decimals = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{text}{decimals}Z"


_Row = Dwell | Visit | QueueMinute | SensorHealth | ShelfEvent | ShelfStock | ReceiverHealth


class EventFinder:
    """Turns outputs, taps and silences into events.

    It remembers the last state of every queue, product and sensor, so that a state is
    told when it begins and not each minute; bounded by what the store has.
    """

    def __init__(self, store: Store, *, queue_long: int) -> None:
        self.store_id = self._store = store.id
        self._queue_long = queue_long
        self._shelf_of = {sensor.id: shelf.id for shelf, sensor in store.sensors}
        self._long: set[str] = set()
        self._stock: dict[tuple[str, str], str] = {}
        self._health: dict[str, str] = {}
        # These are replaced, never changed: the loop reads what the engine's thread writes.
        self._receivers: Mapping[str, ReceiverHealth] = {}
        self._clones: tuple[TagFlag, ...] = ()
        self._flags: Mapping[str, int] = {"cloned": 0, "teleported": 0}

    def find(self, output: Output) -> list[Event]:
        """Return the events of one output, in order of time.

        Parameters
        ----------
        output : what the engine produced; this method takes outputs in their order
        """
        events = [
            Event(
                name=f"zone.{change.kind}",
                id=_stable_id(
                    *(self._store, "zone", change.kind, change.t_ns),
                    *(change.tag, change.layer, change.zone),
                ),
                t_ns=change.t_ns,
                subject=change.zone,
                data={
                    "t_ns": change.t_ns,
                    "tag": change.tag,
                    "layer": change.layer,
                    "zone": change.zone,
                    "zone_p": change.zone_p,
                },
            )
            for change in output.zone_changes
        ]
        events += [
            Event(
                name="visit.started",
                id=f"{visit}/started",
                t_ns=start_ns,
                subject=tag,
                data={**_NO_VISIT, "visit": visit, "tag": tag, "start_ns": start_ns},
            )
            for visit, tag, start_ns in output.visits_started
        ]
        events += [
            Event(
                name="dwell.recorded",
                id=dwell.dwell,
                t_ns=dwell.end_ns,
                subject=dwell.zone,
                data=_columns(dwell),
            )
            for dwell in output.dwells
        ]
        events += [
            Event(
                name="visit.ended",
                id=f"{visit.visit}/ended",
                t_ns=visit.end_ns,
                subject=visit.tag,
                data=_columns(visit),
            )
            for visit in output.visits
        ]
        found = [self._of_shelf(row) for row in output.shelf_events]
        found += [self._of_stock(row) for row in output.shelf_stock]
        found += [self._of_queue(row) for row in output.queues]
        found += [self._of_sensor(row) for row in output.sensor_health]
        found += [self._of_receiver(row) for row in output.receiver_health]
        found += [self._of_flag(row) for row in output.tag_flags]
        events += [event for event in found if event is not None]
        return sorted(events, key=lambda event: event.t_ns)

    def tapped(self, t_ns: int, tap_point: str, tag: str) -> Event:
        """Return the event of one tap.

        Parameters
        ----------
        t_ns : [ns] when
        tap_point : where
        tag : the pseudonym
        """
        return Event(
            name="tag.tapped",
            id=_stable_id(self._store, "tap", t_ns, tap_point, tag),
            t_ns=t_ns,
            subject=tag,
            data={"t_ns": t_ns, "tap_point": tap_point, "tag": tag},
        )

    def agent_silent(self, agent: str, since_ns: int) -> Event:
        """Return the event of an agent that has gone silent.

        Parameters
        ----------
        agent : its name
        since_ns : [ns] the last that was heard of it
        """
        return Event(
            name="agent.silent",
            id=_stable_id(self._store, "silent", agent, since_ns),
            t_ns=since_ns,
            subject=agent,
            data={"agent": agent, "since_ns": since_ns},
        )

    def queues_long(self) -> list[str]:
        """Return the zones whose queue was long in the last minute told."""
        return sorted(self._long)

    def sensors_at_fault(self) -> list[str]:
        """Return the sensors that are not in order."""
        return sorted(sensor for sensor, state in self._health.items() if state in _FAULTS)

    def receivers_at_fault(self) -> list[ReceiverHealth]:
        """Return the newest state of the receivers that are not in order, by name."""
        return [row for _, row in sorted(self._receivers.items()) if row.state != "ok"]

    def clones(self, now_ns: int) -> list[TagFlag]:
        """Return the cloned tags found lately.

        Parameters
        ----------
        now_ns : [ns] event time
        """
        return [flag for flag in self._clones if flag.t_ns > now_ns - CLONE_ALARM_NS]

    def tag_flags(self) -> Mapping[str, int]:
        """Return how many flags there were of each kind since the oldest batch kept."""
        return self._flags

    def state(self) -> dict[str, Any]:
        """Return what is remembered, as plain data."""
        return {
            "long": sorted(self._long),
            "stock": [[*key, state] for key, state in self._stock.items()],
            "health": dict(self._health),
            "receivers": [asdict(row) for row in self._receivers.values()],
            "clones": [asdict(flag) for flag in self._clones],
            "flags": dict(self._flags),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned.

        Parameters
        ----------
        state : plain data

        Raises
        ------
        ValueError
            It is not such a state.
        """
        rows = msgspec.convert(state["receivers"], list[ReceiverHealth])
        clones = msgspec.convert(state["clones"], list[TagFlag])
        self._long = set(state["long"])
        self._stock = {(shelf, gtin): stock for shelf, gtin, stock in state["stock"]}
        self._health = dict(state["health"])
        self._receivers = {row.receiver: row for row in rows}
        self._clones = tuple(clones)
        self._flags = dict(state["flags"])

    def _of_shelf(self, row: ShelfEvent) -> Event | None:
        name = _SHELF_EVENT_NAMES.get(row.kind)
        if row.status == "retracted":
            name = "shelf.retracted"
        if name is None:
            return None
        return Event(
            name=name,
            id=f"{row.event}/{row.status}",
            t_ns=row.t_ns,
            subject=row.shelf,
            data=_columns(row),
        )

    def _of_stock(self, row: ShelfStock) -> Event | None:
        key = (row.shelf, row.gtin)
        before, self._stock[key] = self._stock.get(key), row.state
        if row.state not in ("low", "empty") or before == row.state:
            return None
        return Event(
            name=f"shelf.{row.state}",
            id=_stable_id(self._store, "stock", row.state, row.t_ns, row.shelf, row.gtin),
            t_ns=row.t_ns,
            subject=row.shelf,
            data=_columns(row),
        )

    def _of_queue(self, row: QueueMinute) -> Event | None:
        was_long = row.zone in self._long
        if row.length < self._queue_long:
            self._long.discard(row.zone)
            return None
        self._long.add(row.zone)
        if was_long:
            return None
        return Event(
            name="queue.long",
            id=_stable_id(self._store, "queue", row.t_ns, row.zone),
            t_ns=row.t_ns,
            subject=row.zone,
            data=_columns(row),
        )

    def _of_sensor(self, row: SensorHealth) -> Event | None:
        before, self._health[row.sensor] = self._health.get(row.sensor), row.state
        if row.state not in _FAULTS or before == row.state:
            return None
        return Event(
            name="sensor.fault",
            id=_stable_id(self._store, "sensor", row.sensor, row.state, row.since_ns),
            t_ns=row.since_ns,
            subject=self._shelf_of.get(row.sensor, row.sensor),
            data=_columns(row),
        )

    def _of_receiver(self, row: ReceiverHealth) -> Event | None:
        before = self._receivers.get(row.receiver)
        self._receivers = {**self._receivers, row.receiver: row}
        if row.state == "ok" or (before is not None and before.state == row.state):
            return None
        return Event(
            name="receiver.fault",
            id=_stable_id(self._store, "receiver", row.receiver, row.state, row.since_ns),
            t_ns=row.since_ns,
            subject=row.receiver,
            data=_columns(row),
        )

    def _of_flag(self, row: TagFlag) -> Event | None:
        self._flags = {**self._flags, row.kind: self._flags.get(row.kind, 0) + 1}
        if row.kind != "cloned":
            return None
        self._clones = (*self._clones, row)[-_CLONES_MAX:]
        return Event(
            name="tag.cloned",
            id=_stable_id(self._store, "cloned", row.tag, row.t_ns),
            t_ns=row.t_ns,
            subject=row.tag,
            data={"t_ns": row.t_ns, "tag": row.tag, "zones": list(row.zones)},
        )


def _columns(row: _Row) -> dict[str, Any]:
    """Return a flat record as `dataclasses.asdict` does, without copying its values."""
    return {name: getattr(row, name) for name in row.__dataclass_fields__}


def _stable_id(*parts: object) -> str:
    text = "\x1f".join(map(str, parts))
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
