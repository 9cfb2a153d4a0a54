"""What comes out of a serial line: bytes to taps and samples, and how well that goes.

Rules of the file: no input or output, time is an argument. A stranger's bytes give a
measurement or a count, never an exception. One presentation of a card is one tap, by the
hold-off of its profile, on a clock that is never stepped. A message that proves itself is a
tap only when its counter is on the disk (`serial_proofs`), a counter that did not rise is
counted as replayed. Memory is bounded by one frame and the hold-off's table.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edge.measurement import Measurement, Sample, Tap
from edge.sources.serial_proofs import Claim
from edge.sources.serial_settings import SerialPortSettings, has_channels
from edge.tap_counters import card_digest
from firmware_profiles.calibration import compile_calibration
from firmware_profiles.compile import Profile
from firmware_profiles.crypto import proof_of
from firmware_profiles.decoded import Decoded, Fields, Rejected
from firmware_profiles.decoded import Emit as ProfileEmit
from firmware_profiles.decoders.ntag424 import file_key
from firmware_profiles.dedupe import Deduper
from firmware_profiles.emits import compile_emits

_HOLD_OFF_TAGS = 512
_GARBAGE_REJECTED, _GARBAGE_BYTES = 5, 64
_GAP_MIN_S = 0.1  # longer than any pause that a USB adapter or a busy machine makes
_LINE_GAP_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which sensor or tap point a value belongs to, and its calibration."""

    sensor: str | None = None
    tap_point: str | None = None
    tare_g: float = 0.0
    options: Mapping[str, Any]


class SerialDevice:
    """Decodes what one device says.

    Parameters
    ----------
    port : checked settings
    profile : of the device
    garbage_s : [s] so long without a good frame, but with bytes, is garbage
    keys : of cards that prove themselves, by name
    claim : takes the messages of such cards; without it they are refused
    """

    def __init__(
        self,
        port: SerialPortSettings,
        profile: Profile,
        *,
        garbage_s: float = 10.0,
        keys: Mapping[str, bytes] | None = None,
        claim: Callable[[Claim], None] | None = None,
    ) -> None:
        self._port = port
        self._profile = profile
        self._places = _places(port)
        self._has_channels = has_channels(profile)
        table = profile.table
        self._calibrate = (
            compile_calibration(table["calibration"]) if "calibration" in table else None
        )
        self._make_emits = compile_emits(table.get("emit", []), ("emit",))
        self._deduper = Deduper(_HOLD_OFF_TAGS)
        self._target: int | None = None
        self._is_answer: Callable[[Fields], bool] = lambda _fields: True
        self._options: Mapping[str, Any] = {} if keys is None else {"keys": keys}
        self._proves = proof_of(table) is not None
        self._claim = claim
        self._shown: tuple[bytes, int] | None = None
        self._stream = profile.stream(self._options)
        self._garbage_s = garbage_s
        self._window_s = 0.0
        self._window: Counter[str] = Counter()
        gaps = [frame.get("gap_ms", 0) / 1000 for frame in table.get("frame", [])]
        self.gap_s = max(_GAP_MIN_S, *gaps) if gaps else _LINE_GAP_S
        self.counts: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self.is_garbage = False
        self.good_s: float | None = None

    def restart(self, now_s: float) -> None:
        """Forget what was begun: the port was opened.

        Parameters
        ----------
        now_s : [s] a steady clock
        """
        self._stream = self._profile.stream(self._options)
        self._window_s = now_s
        self._window.clear()
        self.is_garbage = False

    def expect(self, target: int, is_answer: Callable[[Fields], bool]) -> None:
        """Take what comes from now on as the answer of one target.

        Parameters
        ----------
        target : index in the port's ``poll``
        is_answer : tells it from a late answer of another, which would be a wrong weight
        """
        for left in self._stream.finish():
            self.rejected[left.reason if isinstance(left, Rejected) else "foreign"] += 1
        self._target = target
        self._is_answer = is_answer
        self._stream = self._profile.stream(self._places[target].options)

    def feed(self, data: bytes, t_ns: int, now_s: float) -> tuple[list[Measurement], list[Decoded]]:
        """Take bytes as they come.

        Parameters
        ----------
        data : any part of the stream
        t_ns : [ns] when they came
        now_s : [s] a steady clock

        Returns
        -------
        measurements : to hand on
        messages : all that was understood, for who waits for an answer
        """
        self.counts["bytes"] += len(data)
        self._window["bytes"] += len(data)
        return self._taken(self._stream.feed(data), t_ns, now_s)

    def finish(self, t_ns: int, now_s: float) -> tuple[list[Measurement], list[Decoded]]:
        """Take a silence: what was begun will not be completed.

        Parameters
        ----------
        t_ns : [ns] now
        now_s : [s] a steady clock

        Returns
        -------
        measurements, messages : as of `feed`; whole frames behind half a one
        """
        return self._taken(self._stream.finish(), t_ns, now_s)

    def watch(self, now_s: float) -> None:
        """Judge whether it is garbage that comes; call now and then.

        Parameters
        ----------
        now_s : [s] a steady clock
        """
        if now_s - self._window_s < self._garbage_s:
            return
        window = self._window
        self.is_garbage = not window["good"] and (
            window["rejected"] >= _GARBAGE_REJECTED or window["bytes"] >= _GARBAGE_BYTES
        )
        self._window_s = now_s
        window.clear()

    def _taken(
        self, found: list[Decoded | Rejected], t_ns: int, now_s: float
    ) -> tuple[list[Measurement], list[Decoded]]:
        measurements: list[Measurement] = []
        messages: list[Decoded] = []
        for message in found:
            if isinstance(message, Rejected):
                self.rejected[message.reason] += 1
                self._window["rejected"] += 1
                continue
            if message.fields.get("kind") == "request":
                self.counts["echoes"] += 1
                continue
            self._window["good"] += 1
            if self._target is not None and not self._is_answer(message.fields):
                self.rejected["foreign"] += 1
                continue
            self.counts["frames"] += 1
            self.is_garbage = False
            self.good_s = now_s
            messages.append(message)
            if "exception" in message.fields:
                self.rejected["exception"] += 1
            else:
                measurements += self._measured(message, t_ns, now_s)
        return measurements, messages

    def _measured(self, message: Decoded, t_ns: int, now_s: float) -> list[Measurement]:
        place = self._places.get(self._place_of(message.fields))
        if place is None:
            self.counts["no_place"] += 1
            return []
        emits = message.emits
        if self._calibrate is not None:
            fields = dict(message.fields)
            self._calibrate(fields, place.options)
            emits = self._make_emits(fields, None)
        if not emits:
            return []
        measurements = [m for emit in emits if (m := _placed(emit, place, t_ns)) is not None]
        if self._proves:
            self._ask(message, measurements, now_s)
            return []
        return self._held_off(message, measurements, now_s)

    def _held_off(
        self, message: Decoded, measurements: list[Measurement], now_s: float
    ) -> list[Measurement]:
        rule = self._profile.dedupe
        if self._deduper.admits(message, rule, int(now_s * 1e9), sender=self._port.label):
            return measurements
        self.counts["held_off"] += 1
        return []

    def _ask(self, message: Decoded, measurements: list[Measurement], now_s: float) -> None:
        """Have the counter of a verified message remembered; what is new comes by the claim."""
        if self._claim is None:
            self.rejected["replayed"] += 1
            return
        uid_hex, counter = message.fields["uid_hex"], message.fields["read_counter"]
        card = card_digest(bytes.fromhex(uid_hex), file_key(self._options, uid_hex))

        def settle(is_new: bool) -> list[Measurement]:
            # A reader may type the address of a card that stays there again and again.
            if is_new or (card, counter) == self._shown:
                taken = self._held_off(message, measurements, now_s)
                if is_new:
                    self._shown = (card, counter)
                if is_new or not taken:
                    return taken
            self.rejected["replayed"] += 1
            return []

        self._claim(Claim(card, counter, settle))

    def _place_of(self, fields: Fields) -> int | None:
        if self._target is not None:
            return self._target
        if not self._has_channels:
            return None
        channel: int = fields["channel"]
        if not self._port.channel and not self._places.keys() - {None}:
            # One load cell is configured: the first that speaks, so that two never mix.
            self._places[channel] = self._places[None]
        return channel


def _places(port: SerialPortSettings) -> dict[int | None, Place]:
    places: dict[int | None, Place] = {}
    for item in port.channel:
        options = {"counts_per_gram": item.counts_per_g}
        places[item.channel] = Place(sensor=item.sensor, tare_g=item.tare_g, options=options)
    for target, poll in enumerate(port.poll):
        polled: dict[str, Any] = {"word_order": poll.word_order}
        if poll.counts_per_g is not None:
            polled["scale_g_per_count"] = 1 / poll.counts_per_g
        if poll.counts_per_mm is not None:
            polled["scale_mm_per_count"] = 1 / poll.counts_per_mm
        places[target] = Place(sensor=poll.sensor, tare_g=poll.tare_g, options=polled)
    if not places:
        places[None] = Place(
            sensor=port.sensor,
            tap_point=port.tap_point,
            tare_g=port.tare_g,
            options={"counts_per_gram": port.counts_per_g},
        )
    return places


def _placed(emit: ProfileEmit, place: Place, t_ns: int) -> Measurement | None:
    if emit.kind == "tap" and place.tap_point is not None and emit.tag is not None:
        return Tap(t_ns, place.tap_point, emit.tag, emit.proof)
    if emit.kind == "sample" and place.sensor is not None:
        mass_g = emit.mass_g
        if mass_g is not None and place.tare_g:
            mass_g = round(mass_g - place.tare_g, 6)
        return Sample(t_ns, place.sensor, mass_g, emit.range_mm)
    return None
