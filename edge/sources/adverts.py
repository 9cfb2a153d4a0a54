"""What adverts are to a shop: readings of visitors, taps of button wristbands, samples.

Rules of the file: no radio and no clock; what is heard comes with its times. A sender that
is configured as a shelf sensor is a sensor and nobody's tag. An address becomes a tag only
where the caller says that it lasts, or under the name that its owner enrolled. One press is
one tap. A sender with a key must encrypt, and its counter must rise (a fall below 100 is a
new battery, as in bthome-ble); the counters of all keys are kept, so none is forgotten.
"""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from edge.measurement import Measurement, Reading, Tap
from edge.sources.advert_sensors import Sensors, SensorSettings
from edge.sources.repeats import Recent, Repeats
from edge.sources.strangers import Strangers
from firmware_profiles.advert import sender_ids
from firmware_profiles.decoded import Decoded, Rejected
from firmware_profiles.dedupe import RESTART_BELOW
from firmware_profiles.registry import Registry

_TOLD = {"no-key": "no_key", "no-crypto": "no_key", "not-authentic": "not_authentic"}
TAP_HOLD_OFF_S = 2.0


class Heard(NamedTuple):
    """One advert and how it was heard.

    `address` is as printed, in lower case; None = not known. `name` is the tag of an
    enrolled phone. `is_fresh` says that the data came with this packet and are not
    remembered from one before. `steady_ns` is of a clock that is never stepped.
    """

    t_ns: int
    steady_ns: int
    rssi_dbm: float
    data: bytes
    address: str | None = None
    lasts: bool = False
    name: str | None = None
    is_fresh: bool = True


class Ear(NamedTuple):
    """The radio that hears: its receiver, and the tap point that it is, if it is one."""

    receiver: str
    tap_point: str | None = None
    tap_rssi_min_dbm: float | None = None


class Meaning(NamedTuple):
    """What the bytes of an advert say, whoever hears them.

    Thousands are remembered: `found` is kept for sensors only.
    """

    found: Decoded | None = None
    reading: str | None = None
    press: str | None = None
    mark: Hashable | None = None
    counter: int | None = None
    reason: str = "no_tag"
    strangers: tuple[str, ...] | None = None


class Adverts:
    """Turns adverts into measurements, and counts what becomes of them.

    Parameters
    ----------
    registry : the profiles
    sensors : senders that are shelf sensors
    keys : address in lower case → key of 16 bytes
    tap_hold_off_s : [s] presses without a packet id, so close together, are one
    cached_max : adverts whose meaning is remembered
    """

    def __init__(
        self,
        registry: Registry,
        *,
        sensors: Sequence[SensorSettings] = (),
        keys: Mapping[str, bytes] | None = None,
        tap_hold_off_s: float = TAP_HOLD_OFF_S,
        cached_max: int,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.strangers = Strangers()
        self._registry, self._keys = registry, dict(keys or {})
        self._sensors = Sensors(sensors)
        self._presses, self._said = Repeats(tap_hold_off_s), Recent()
        self._values = Repeats(0.0)
        self._counters: dict[str, int] = {}
        self._rules = {p.device: p.dedupe for p in registry.profiles.values()}
        self._sealing = {
            p.device
            for p in registry.profiles.values()
            if p.transport == "ble-adv" and "crypto" in p.table
        }
        self.meaning = lru_cache(maxsize=cached_max)(self._meaning)

    def is_sensor(self, address: str) -> bool:
        """Tell whether a sender is configured as a shelf sensor.

        Parameters
        ----------
        address : in lower case
        """
        return self._sensors.has(address)

    def measured(self, heard: Heard, ear: Ear) -> list[Measurement]:
        """Return what an advert is to the shop; what is nothing is counted by its reason.

        Parameters
        ----------
        heard : the advert
        ear : the radio that heard it
        """
        address = heard.address
        is_sensor = address is not None and self._sensors.has(address)
        known = address if heard.lasts or is_sensor or heard.name is not None else None
        meaning = self.meaning(heard.data, known)
        if meaning.strangers is not None:
            self.strangers.count(meaning.strangers)
        if meaning.counter is not None and known is not None and self._is_old(meaning, known):
            self.dropped["replayed"] += 1
            return []
        if is_sensor and address is not None:
            return self._sampled(heard, address, meaning)
        measurements: list[Measurement] = []
        tag = heard.name or meaning.reading
        if tag is None:
            self.dropped[meaning.reason] += 1
        else:
            measurements.append(Reading(heard.t_ns, ear.receiver, tag, heard.rssi_dbm))
        if meaning.press is not None and ear.tap_point is not None:
            tag = heard.name or meaning.press
            if self._is_tap(heard, ear, tag, meaning.mark):
                measurements.append(Tap(heard.t_ns, ear.tap_point, tag))
        return measurements

    def health(self) -> dict[str, object]:
        """Return counters: taps and samples, what was held off, and strangers."""
        keys = ("taps", "taps_far", "taps_held", "taps_stale")
        return {
            **{key: self.counts[key] for key in (*keys, "samples", "samples_held")},
            "unknown": self.strangers.most(),
        }

    def _sampled(self, heard: Heard, address: str, meaning: Meaning) -> list[Measurement]:
        if meaning.found is None:
            self.dropped[meaning.reason] += 1
            return []
        samples = self._sensors.samples(heard.t_ns, address, meaning.found)
        if not samples:
            self.dropped["no_value"] += 1
            return []
        if not self._values.admits(address, meaning.mark, heard.steady_ns):
            self.counts["samples_held"] += 1
            return []
        self.counts["samples"] += len(samples)
        return list(samples)

    def _is_tap(self, heard: Heard, ear: Ear, tag: str, mark: Hashable | None) -> bool:
        now_ns, is_near = heard.steady_ns, True
        if heard.is_fresh:
            self._said.note(tag, mark, now_ns)
        if ear.tap_rssi_min_dbm is not None:
            is_near = heard.rssi_dbm >= ear.tap_rssi_min_dbm
        if not is_near:
            what = "taps_far"
        elif not heard.is_fresh and not self._said.holds(tag, mark, now_ns):
            what = "taps_stale"
        else:
            is_new = self._presses.admits(f"{ear.tap_point} {tag}", mark, now_ns)
            what = "taps" if is_new else "taps_held"
        self.counts[what] += 1
        return what == "taps"

    def _is_old(self, meaning: Meaning, address: str) -> bool:
        counter, last = meaning.counter or 0, self._counters.get(address, -1)
        if RESTART_BELOW <= counter < last:
            return True
        self._counters[address] = counter
        return False

    def _meaning(self, data: bytes, address: str | None) -> Meaning:
        key = None if address is None else self._keys.get(address)
        found = self._registry.decode_advert(data, address=address, key=key)
        if isinstance(found, Rejected):
            if found.reason in _TOLD:
                return Meaning(reason=_TOLD[found.reason])
            return Meaning(strangers=sender_ids(data))
        rule = self._rules.get(found.profile, {})
        counter = found.fields.get(rule.get("counter", ""))
        if key is not None and counter is None and found.profile in self._sealing:
            return Meaning(reason="downgraded")
        marks = tuple(found.fields.get(n) for n in (*rule.get("fields", ()), rule.get("counter")))
        is_sensor = address is not None and self._sensors.has(address)
        return Meaning(
            found if is_sensor else None,
            _tag_of(found, "reading"),
            _tag_of(found, "tap"),
            None if all(mark is None for mark in marks) else marks,
            counter if key is not None else None,
        )


def _tag_of(found: Decoded, kind: str) -> str | None:
    return next((e.tag or found.tag for e in found.emits if e.kind == kind), None)
