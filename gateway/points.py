"""Rows to InfluxDB points: the schema of contract section 6 in one place.

Rules of the file: a person is never a tag, and their pseudonym becomes a field only
through the gate; rows over a period carry its end; a point's time carries the hash
of its row's id. Counts per minute (taps) are flushed when event time has passed the
minute. `shelf_residence` is a later issue.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from analytics.geometry import polygon_area
from analytics.rows import Occupancy, Output, Transition, Visit
from analytics.store import Store
from gateway.gate import Gate
from gateway.line_protocol import Point, encode_point, stamp_ns
from gateway.peaks import MINUTE_NS, Peaks
from gateway.visit_history import History

HOUR_NS = 60 * MINUTE_NS
CONGESTED_M2 = 1.4
"""Less floor than this for each person is congestion: level of service D of walkways begins
at 15 square feet (Fruin 1971, Pedestrian Planning and Design)."""


class PointMaker:
    """Turns outputs, taps and agents' status into lines.

    Taps are counted per minute and tap point. The counts of the last `minutes_max` minutes
    are kept, so that a late tap rewrites its minute with the whole count.
    """

    def __init__(self, store: Store, gate: Gate, *, identity: str, minutes_max: int = 256) -> None:
        self._store = store.id
        self._gate = gate
        self._identity = identity
        self._zone_kind = {zone.id: zone.kind for zone in store.zones}
        self._area_m2 = {zone.id: polygon_area(zone.polygon_m) for zone in store.zones}
        self._role = {point.id: point.role for point in store.tap_points}
        self._peaks = Peaks(store)
        self._taps: dict[int, dict[str, int]] = {}
        self._changed: set[int] = set()
        self._minutes_max = minutes_max
        self._hour_end_ns: int | None = None

    def of_output(self, output: Output, histories: Mapping[str, History]) -> list[Point]:
        """Return the points of one output; provisional and retracted shelf events give none.

        Parameters
        ----------
        output : what the engine produced; this method takes outputs in their order
        histories : by visit, of the visits in it
        """
        points = self._of_occupancy(output)
        for dwell in output.dwells:
            fields = {
                name: getattr(dwell, name)
                for name in ("dwell_s", "sigma_s", "readings", "confidence", "visit")
            }
            tags = {"zone": dwell.zone, "zone_kind": self._zone_kind.get(dwell.zone, "")}
            fields["visitor"] = self._visitor(dwell.tag)
            points.append(self._point("dwell", dwell.end_ns, dwell.dwell, tags, fields))
        points += self.of_visits(output.visits, histories)
        visit_of = dict(output.shelf_visits)
        for event in output.shelf_events:
            if event.status == "final":
                tags = {"shelf": event.shelf, "gtin": event.gtin or "", "kind": event.kind}
                fields = {
                    name: getattr(event, name) for name in ("quantity", "delta_g", "confidence")
                }
                fields["visit"] = visit_of.get(event.event)
                points.append(self._point("shelf_event", event.t_ns, event.event, tags, fields))
        for stock in output.shelf_stock:
            fields = {
                name: getattr(stock, name) for name in ("quantity", "sigma", "mass_g", "state")
            }
            tags = {"shelf": stock.shelf, "gtin": stock.gtin}
            points.append(self._point("shelf_stock", stock.t_ns, None, tags, fields))
        for queue in output.queues:
            fields = {
                name: getattr(queue, name)
                for name in ("length", "wait_p50_s", "wait_p90_s", "abandoned")
            }
            points.append(self._point("queue", queue.t_ns, None, {"zone": queue.zone}, fields))
        return points

    def of_visits(self, visits: Iterable[Visit], histories: Mapping[str, History]) -> list[Point]:
        """Return the points of visits.

        Parameters
        ----------
        visits : that have ended
        histories : one for each of them, by its id
        """
        points = []
        for visit in visits:
            fields = {
                name: getattr(visit, name)
                for name in (
                    *("visit_s", "zones", "path_length_m", "directness", "hesitations", "taps"),
                    *("shelf_s", "picks", "returns", "path", "visit"),
                )
            }
            history = histories[visit.visit]
            fields["earlier_visits"] = history.earlier_visits
            fields["days_since_last"] = history.days_since_last
            fields["visitor"] = self._visitor(visit.tag)
            tags = {"purpose": visit.purpose}
            points.append(self._point("visit", visit.end_ns, visit.visit, tags, fields))
        return points

    def of_gone(self, gone: Output) -> list[bytes]:
        """Return what erases the points of rows, one JSON object each.

        It has `measurement`, `tags` and `t_ns`, and `void`: the line that takes all meaning
        from the point on a server that cannot delete.

        Parameters
        ----------
        gone : rows that are no longer true
        """
        nothing = dict.fromkeys(
            (visit.visit for visit in gone.visits), History(earlier_visits=0, days_since_last=None)
        )
        erasures = []
        for point in self.of_output(gone, nothing):
            void = {
                name: value if isinstance(value, str) or value is None else type(value)(0)
                for name, value in point.fields.items()
            }
            line = encode_point(replace(point, fields=void))
            erasures.append(
                msgspec.json.encode(
                    {
                        "measurement": point.measurement,
                        "tags": point.tags,
                        "t_ns": point.t_ns,
                        "void": (line or b"").decode(),
                    }
                )
            )
        return erasures

    def note_told(self, output: Output) -> None:
        """Take an output whose points were made before, in its place among the others.

        Parameters
        ----------
        output : what the engine produced again
        """
        self._of_occupancy(output)

    def state(self) -> dict[str, Any]:
        """Return what is remembered between outputs, as plain data."""
        return {
            "taps": {minute: dict(counts) for minute, counts in self._taps.items()},
            "changed": sorted(self._changed),
            "hour_end_ns": self._hour_end_ns,
            "peaks": self._peaks.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned.

        Parameters
        ----------
        state : of the same store

        Raises
        ------
        ValueError
            It is of another store.
        """
        self._peaks.restore(state["peaks"])
        self._taps = {int(minute): dict(counts) for minute, counts in state["taps"].items()}
        self._changed = set(state["changed"])
        self._hour_end_ns = state["hour_end_ns"]

    def count_taps(self, t_ns: Iterable[int], tap_points: Iterable[str]) -> None:
        """Count taps into their minutes.

        Parameters
        ----------
        t_ns : [ns] one for each tap
        tap_points : their ids
        """
        for at_ns, tap_point in zip(t_ns, tap_points, strict=True):
            minute = at_ns // MINUTE_NS
            counts = self._taps.setdefault(minute, {})
            counts[tap_point] = counts.get(tap_point, 0) + 1
            self._changed.add(minute)

    def of_taps(self, watermark_ns: int) -> list[Point]:
        """Return the tap counts of the minutes that are over.

        Parameters
        ----------
        watermark_ns : [ns] event time is complete up to here
        """
        over = sorted(m for m in self._changed if (m + 1) * MINUTE_NS <= watermark_ns)
        self._changed.difference_update(over)
        points = []
        for minute in over:
            for tap_point, count in sorted(self._taps[minute].items()):
                tags = {"tap_point": tap_point, "role": self._role.get(tap_point, "")}
                end_ns = (minute + 1) * MINUTE_NS
                points.append(self._point("tap", end_ns, None, tags, {"count": count}))
        for minute in sorted(set(self._taps) - self._changed)[: -self._minutes_max]:
            del self._taps[minute]
        return points

    def of_hour(
        self, watermark_ns: int, transitions: Callable[[int, int], list[Transition]]
    ) -> list[Point]:
        """Return the transitions of the hours that have ended since the last call.

        The two hours before are written again: stays that began in them may have ended since.

        Parameters
        ----------
        watermark_ns : [ns] event time is complete up to here
        transitions : from and to [ns] to the transitions of layer main in between
        """
        end_ns = watermark_ns // HOUR_NS * HOUR_NS
        before_ns, self._hour_end_ns = self._hour_end_ns, end_ns
        if before_ns is None or end_ns <= before_ns:
            return []
        first_ns = max(before_ns - 2 * HOUR_NS, end_ns - 24 * HOUR_NS)
        return self.of_hours(first_ns, end_ns, transitions)

    def of_hours(
        self, from_ns: int, to_ns: int, transitions: Callable[[int, int], list[Transition]]
    ) -> list[Point]:
        """Return the transitions of the hours that have ended within a stretch of time.

        Parameters
        ----------
        from_ns : [ns] in the first hour
        to_ns : [ns] hours that end later are left out
        transitions : as in `of_hour`
        """
        points = []
        for hour_ns in range(from_ns // HOUR_NS * HOUR_NS, to_ns // HOUR_NS * HOUR_NS, HOUR_NS):
            for row in transitions(hour_ns, hour_ns + HOUR_NS):
                tags = {"from_zone": row.from_zone, "to_zone": row.to_zone}
                fields = {"count": row.count, "median_s": row.median_s, "p90_s": row.p90_s}
                points.append(self._point("transition", hour_ns + HOUR_NS, None, tags, fields))
        return points

    def of_agent(self, t_ns: int, agent: str, fields: Mapping[str, Any]) -> Point:
        """Return the point of an agent's minute.

        Parameters
        ----------
        t_ns : [ns] the minute's end
        agent : its name
        fields : some of those of measurement ``agent``
        """
        return self._point("agent", t_ns, None, {"agent": agent}, fields)

    def _of_occupancy(self, output: Output) -> list[Point]:
        for block in output.positions:
            self._peaks.count(block)
        points = [self._of_minute(row) for row in output.occupancy]
        if output.occupancy:
            self._peaks.forget(max(row.t_ns for row in output.occupancy))
        return points

    def _of_minute(self, row: Occupancy) -> Point:
        most = max(row.people, self._peaks.most(row.t_ns, row.zone))
        state = occupancy_state(row.people, most, self._area_m2[row.zone])
        fields = {"people": row.people, "max": most, "state": state}
        return self._point("occupancy", row.t_ns, None, {"zone": row.zone}, fields)

    def _visitor(self, tag: str) -> str | None:
        if self._identity == "none":
            return None
        return self._gate.visitor_for(tag, "analytics")

    def _point(
        self,
        measurement: str,
        t_ns: int,
        row_id: str | None,
        tags: Mapping[str, str],
        fields: Mapping[str, Any],
    ) -> Point:
        return Point(
            measurement=measurement,
            tags={"store": self._store, **tags},
            fields=fields,
            t_ns=stamp_ns(t_ns, row_id),
        )


def occupancy_state(people: int, most: int, area_m2: float) -> str:
    """Return a zone's state in one minute: empty, busy or congested.

    Parameters
    ----------
    people : rounded mean of the minute
    most : the most at one moment
    area_m2 : [m²] of the zone

    Returns
    -------
    str
        "empty": nobody at any moment. "congested": two people or more, and less than
        `CONGESTED_M2` of floor for each on average. Else "busy".

    Examples
    --------
    >>> occupancy_state(0, 0, 20.0), occupancy_state(0, 1, 20.0), occupancy_state(15, 17, 20.0)
    ('empty', 'busy', 'congested')
    """
    if most == 0:
        return "empty"
    return "congested" if people >= 2 and people * CONGESTED_M2 > area_m2 else "busy"


def encode_points(points: Iterable[Point]) -> list[bytes]:
    """Return points as lines, leaving out those without a field.

    Parameters
    ----------
    points : in any order
    """
    return [line for line in map(encode_point, points) if line is not None]
