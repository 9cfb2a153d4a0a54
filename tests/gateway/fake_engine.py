"""A stand-in for `analytics.engine.Engine` that a test can predict.

Every tag that is heard enters zone 0 at the end of its first closed tick; `finish`
ends one visit and one dwell for each. Every `advance` finds a pass-by. Rows of closed
ticks are late, as in the engine.
"""

from types import SimpleNamespace

import numpy as np

from analytics.rows import Dwell, Occupancy, Output, Positions, Visit, ZoneChange

SECOND = 1_000_000_000


class FakeEngine:
    def __init__(self, store, name_of):
        self.store = store
        self.name_of = name_of
        self.rows = []
        self.taps = []
        self.samples = []
        self.advanced = []
        self.closed_ns = 0
        self.first = {}
        self.last = {}
        self.pending = []
        self.pass_bys = 0

    def add_readings(self, t_ns, receiver, tag, rssi_dbm):
        late = int((t_ns < self.closed_ns).sum())
        for row in zip(
            t_ns.tolist(), receiver.tolist(), tag.tolist(), rssi_dbm.tolist(), strict=True
        ):
            if row[0] >= self.closed_ns:
                self.rows.append(row)
                if row[2] not in self.first:
                    self.first[row[2]] = row[0]
                    self.pending.append(row[2])
                self.last[row[2]] = max(row[0], self.last.get(row[2], 0))
        return late

    def add_taps(self, t_ns, tap_point, tag):
        self.taps += zip(t_ns.tolist(), tap_point.tolist(), tag.tolist(), strict=True)
        return 0

    def add_samples(self, t_ns, sensor, value):
        self.samples += zip(t_ns.tolist(), sensor.tolist(), value.tolist(), strict=True)
        return 0

    def advance(self, watermark_ns):
        self.advanced.append(watermark_ns)
        self.pass_bys += 1
        minute_before, minute = self.closed_ns // (60 * SECOND), watermark_ns // (60 * SECOND)
        self.closed_ns = watermark_ns
        output = Output()
        entered = [tag for tag in self.pending if self.first[tag] < watermark_ns]
        self.pending = [tag for tag in self.pending if tag not in entered]
        names = self.name_of(np.array(entered, dtype=np.int32)) if entered else []
        for name in names:
            output.visits_started.append((f"visit-{name}", name, watermark_ns))
            output.zone_changes.append(
                ZoneChange(
                    kind="entered",
                    t_ns=watermark_ns,
                    tag=name,
                    layer="main",
                    zone=self.store.zones[0].id,
                    zone_p=0.9,
                )
            )
        if self.first:
            output.positions.append(self._positions(watermark_ns))
        if 0 < minute_before < minute:
            output.occupancy.append(
                Occupancy(
                    t_ns=minute * 60 * SECOND,
                    layer="main",
                    zone=self.store.zones[0].id,
                    people=len(self.first),
                )
            )
        return output

    def finish(self):
        tags = sorted(self.first)
        names = self.name_of(np.array(tags, dtype=np.int32)) if tags else []
        output = Output()
        for tag, name in zip(tags, names, strict=True):
            start, end = self.first[tag], self.last[tag] + SECOND
            output.dwells.append(
                Dwell(
                    dwell=f"dwell-{name}",
                    visit=f"visit-{name}",
                    tag=name,
                    layer="main",
                    zone=self.store.zones[0].id,
                    start_ns=start,
                    end_ns=end,
                    dwell_s=(end - start) / 1e9,
                    sigma_s=0.5,
                    confidence=0.9,
                    readings=1,
                )
            )
            output.visits.append(
                Visit(
                    visit=f"visit-{name}",
                    tag=name,
                    start_ns=start,
                    end_ns=end,
                    visit_s=(end - start) / 1e9,
                    zones=1,
                    path=self.store.zones[0].id,
                    path_length_m=1.0,
                    directness=None,
                    hesitations=0,
                    taps=0,
                    shelf_s=0.0,
                    picks=0,
                    returns=0,
                    purpose="unknown",
                    purpose_p=None,
                )
            )
        return output

    def live(self):
        tags = np.array(sorted(self.first), dtype=np.int32)
        ones = np.ones(len(tags))
        return SimpleNamespace(
            t_ns=self.closed_ns,
            tag=tags,
            zone=np.zeros(len(tags), dtype=np.int16),
            zone_p=ones * 0.9,
            x_m=ones,
            y_m=ones,
            sigma_m=ones * np.nan,
            floor=np.zeros(len(tags), dtype=np.uint8),
            people={self.store.zones[0].id: len(tags)},
            queues={},
        )

    def active_tags(self):
        return np.array(sorted(self.first), dtype=np.int32)

    def _positions(self, t_ns):
        tags = np.array(sorted(self.first), dtype=np.int32)
        ones = np.ones(len(tags), dtype=np.float32)
        return Positions(
            t_ns=np.full(len(tags), t_ns),
            tag=tags,
            stage=np.zeros(len(tags), dtype=np.uint8),
            layer=np.zeros(len(tags), dtype=np.uint8),
            zone=np.zeros(len(tags), dtype=np.int16),
            zone_state=np.zeros(len(tags), dtype=np.uint8),
            floor=np.zeros(len(tags), dtype=np.uint8),
            zone_p=ones,
            x_m=ones,
            y_m=ones,
            sigma_m=ones,
        )
