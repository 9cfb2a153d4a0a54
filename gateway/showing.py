"""What the service shows: the store's plan, the summary, alarms and metrics.

Rules of the file: reads, never changes; a person appears in the live message of the
page only. Counts of rows are those of the journal: unique and durable.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import msgspec

from analytics.flow import VisitCounts
from analytics.store import Store
from gateway.flow import stored_visit_counts
from gateway.metrics import Metric, by_label, counter, gauge

if TYPE_CHECKING:
    from gateway.service import Service


class Showing:
    """Shows one service."""

    def __init__(self, service: "Service") -> None:
        self._service = service
        self._store_json = store_object(service.store)
        self._visits = VisitCounts(visits=0, bounces=0, engaged_visits=0)

    def store_json(self) -> dict[str, Any]:
        """Return the object of ``/api/v1/store``."""
        return self._store_json

    def counters(self) -> dict[str, Any]:
        """Return what was received, found and sent."""
        service = self._service
        totals, counts = service.journal.totals(), service.results.counts()
        driver = service.driver.counts
        has_influx = service.settings.influxdb is not None
        return {
            "readings": totals.get("rows.ble", 0),
            "taps": totals.get("rows.tap", 0),
            "samples": totals.get("rows.sample", 0),
            "visits": counts["visits"],
            "dwells": counts["dwells"],
            "shelf_events": counts["shelf_events"],
            "points_written": counts.get("points_written", 0)
            if has_influx
            else counts.get("rows_written", 0),
            "points_queued": counts["lines_queued"] if has_influx else 0,
            "points_refused": counts.get("points_refused", 0),
            "batches": totals.get("batches", 0),
            "duplicates": totals.get("duplicates", 0),
            "dead_letters": totals.get("dead_letters", 0),
            "refused": {
                name.removeprefix("refused."): value
                for name, value in sorted(totals.items())
                if name.startswith("refused.")
            },
            "set_aside": {
                name.removeprefix("set_aside."): value
                for name, value in sorted(totals.items())
                if name.startswith("set_aside.")
            },
            "lost": totals.get("lost", 0),
            "late": sum(driver.late.values()),
            "recomputations": counts.get("recomputations", 0),
            "dropped": dict(sorted((driver.dropped + service.committer.dropped).items())),
            "unknown": dict(sorted(driver.unknown.items())),
            "events_published": counts.get("events_published", 0),
            "pass_bys": counts.get("pass_bys", 0),
            "staff_tags_seen": service.driver.staff_tags_seen,
            "refused_tags": service.driver.refused_tags,
        }

    def summary(self) -> dict[str, Any]:
        """Return the object of ``/api/v1/summary``."""
        service = self._service
        counters = self.counters()
        if self._visits.visits != counters["visits"]:  # counting anew takes a while
            bounce_s = service.store.rules.bounce_s
            self._visits = stored_visit_counts(service.results, bounce_s=bounce_s)
        return {
            "store": service.store.id,
            "t_ns": service.driver.closed_ns,
            **counters,
            "bounces": self._visits.bounces,
            "engaged_visits": self._visits.engaged_visits,
            "people": service.picture.people,
            "agents": self._agents(),
            "broker_connected": service.subscriber.is_connected,
            "influxdb": service.influx.server if service.influx is not None else None,
            "webhooks": service.webhooks.summary(),
            "replaying": service.is_replaying,
        }

    def _agents(self) -> dict[str, dict[str, Any]]:
        """Return the agents' summary, with what is known of their clocks."""
        agents, clocks = self._service.agents.summary(), self._service.clocks
        if clocks is not None:
            for name, agent in agents.items():
                agent["clock_offset_ms"] = clocks.offset_ms(name)
                agent["clock_drift_ppm"] = clocks.drift_ppm(name)
        return agents

    def alarms(self) -> list[dict[str, Any]]:
        """Return what is wrong now, in the form of the matching events' data."""
        service = self._service
        alarms: list[dict[str, Any]] = [
            {"type": "agent.silent", "subject": agent, "agent": agent, "since_ns": since_ns}
            for agent, since_ns in service.agents.silent()
        ]
        alarms += [
            {"type": "agent.clock", "subject": agent, "agent": agent, "jumped_s": round(jump_s, 3)}
            for agent, jump_s in (service.clocks.jumped() if service.clocks is not None else ())
        ]
        alarms += [
            {"type": "queue.long", "subject": zone, "zone": zone}
            for zone in service.finder.queues_long()
        ]
        alarms += [
            {"type": "sensor.fault", "subject": sensor, "sensor": sensor}
            for sensor in service.finder.sensors_at_fault()
        ]
        alarms += [
            {"type": "receiver.fault", "subject": row.receiver, **asdict(row)}
            for row in service.finder.receivers_at_fault()
        ]
        alarms += [  # without the tag: this message has no persons in it
            {"type": "tag.cloned", "subject": flag.zones[0], "zones": flag.zones, "t_ns": flag.t_ns}
            for flag in service.finder.clones(service.driver.closed_ns or 0)
            if flag.zones
        ]
        return alarms

    def live_for_mqtt(self, message: Mapping[str, Any]) -> bytes:
        """Return the message of ``S/live``: the page's without persons.

        Parameters
        ----------
        message : of `gateway.live.LivePicture.message`
        """
        kept = {name: message[name] for name in ("t_ns", "zones", "queues", "alarms")}
        return msgspec.json.encode(kept)

    def not_ready(self) -> list[str]:
        """Return what is missing until the service is ready; empty = ready."""
        missing = []
        if self._service.is_replaying:
            missing.append("the journal is being replayed")
        if not self._service.subscriber.is_connected:
            missing.append("the broker is not connected")
        return missing

    def metrics(self) -> list[Metric]:
        """Return all metrics."""
        service = self._service
        counts = self.counters()
        rows = {"ble": counts["readings"], "tap": counts["taps"], "sample": counts["samples"]}
        results = {name: counts[name] for name in ("visits", "dwells", "shelf_events")}
        faults = Counter(row.state for row in service.finder.receivers_at_fault())
        return [
            by_label("rows_received_total", "Unique durable rows by kind.", "kind", rows),
            counter("batches_duplicate_total", "Batches that came again.", counts["duplicates"]),
            by_label("batches_refused_total", "Malformed batches.", "reason", counts["refused"]),
            by_label("rows_dropped_total", "Rows not used.", "reason", counts["dropped"]),
            by_label("rows_set_aside_total", "Rows not believed.", "reason", counts["set_aside"]),
            counter("rows_late_total", "Rows whose tick was closed.", counts["late"]),
            counter("rows_lost_total", "Rows that agents dropped.", counts["lost"]),
            counter("recomputations_total", "Late rows put in place.", counts["recomputations"]),
            by_label("results_rows", "Rows stored by table.", "table", results, kind="gauge"),
            counter("points_written_total", "Points stored.", counts["points_written"]),
            counter("points_refused_total", "Points refused for good.", counts["points_refused"]),
            gauge("points_queued", "Points that wait for InfluxDB.", counts["points_queued"]),
            counter("events_published_total", "Events published.", counts["events_published"]),
            counter("gate_denied_total", "Records kept in the store.", service.gate.denied),
            counter("pass_bys_total", "Tags that only passed by.", counts["pass_bys"]),
            counter("tags_refused_total", "No place for a tag, per tick.", counts["refused_tags"]),
            by_label(
                "tag_flags_total",
                "Tags that behave as no person can.",
                "kind",
                service.finder.tag_flags(),
            ),
            by_label(
                "receiver_faults",
                "Receivers that are not in order.",
                "state",
                {state: faults[state] for state in ("moved", "weak", "deaf")},
                kind="gauge",
            ),
            *service.webhooks.metrics(),
            gauge("people", "Tags present now.", service.picture.people),
            gauge("watchers", "Open live streams.", len(service.hub)),
            counter("live_dropped_total", "Messages dropped.", service.hub.messages_dropped),
            gauge("broker_connected", "1 = connected.", int(service.subscriber.is_connected)),
            counter(
                "broker_failures_total", "Failed connections.", service.subscriber.outage_count
            ),
            by_label(
                "agent_up",
                "1 = heard of lately.",
                "agent",
                {name: int(agent["up"]) for name, agent in service.agents.summary().items()},
                kind="gauge",
            ),
        ]


def store_object(store: Store) -> dict[str, Any]:
    """Return the store's plan as an object of plain values.

    Parameters
    ----------
    store : the store
    """
    return {
        "id": store.id,
        "name": store.name,
        "timezone": store.timezone,
        "outline_m": store.outline_m,
        "floors": [
            {
                "id": floor.id,
                "name": floor.name or floor.id,
                "level_m": floor.level_m,
                "outline_m": store.outline_of(floor.id),
            }
            for floor in store.floors
        ],
        "connections": [
            {
                "id": connection.id,
                "kind": connection.kind,
                "ends": [{"floor": end.floor, "rect_m": end.rect_m} for end in connection.ends],
            }
            for connection in store.connections
        ],
        "cell_m": store.cell_m,
        "tick_s": store.rules.tick_s,
        "obstacles": [obstacle.polygon_m for obstacle in store.obstacles],
        "obstacle_floors": [obstacle.floor for obstacle in store.obstacles],
        "zones": [
            {
                "id": zone.id,
                "name": zone.name,
                "kind": zone.kind,
                "layer": zone.layer,
                "polygon_m": zone.polygon_m,
                "floor": zone.floor,
            }
            for zone in store.zones
        ],
        "receivers": [
            {"id": r.id, "position_m": r.position_m, "agent": r.agent, "floor": r.floor}
            for r in store.receivers
        ],
        "shelves": [
            {
                "id": shelf.id,
                "zone": shelf.zone,
                "rect_m": shelf.rect_m,
                "floor": shelf.floor,
                "products": [
                    {"gtin": p.gtin, "name": p.name, "unit_g": p.unit_g} for p in shelf.products
                ],
            }
            for shelf in store.shelves
        ],
        "tap_points": [{"id": p.id, "zone": p.zone, "role": p.role} for p in store.tap_points],
    }
