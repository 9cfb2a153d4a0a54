"""Dwell sessions from decided zones, tick by tick, for all seats at once.

A dwell is a run of one decided zone. Excursions of at most `flicker_s` are bridged,
silence longer than `dwell_gap_s` ends it, its first and last tick have evidence
(never "now"), and it counts from `dwell_min_s` on. The stay rule is that of Li et
al. 2008 (eq. 2) on zones instead of distances.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.store import Rules
from analytics.tick_buffer import ticks_in

NOWHERE = -1
_NO_CANDIDATE = -2
_CORRELATED_TICKS = 3.0
"""Neighbouring ticks err together; about this many count as one in the uncertainty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """A finished dwell in ticks: `first` and `last` are included."""

    seat: int
    zone: int
    first: int
    last: int
    confidence: float
    sigma_s: float
    readings: int


class DwellMachine:
    """Turns the decided zone of every tick into stays, for one layer.

    Parameters
    ----------
    rules : the store's rules
    """

    def __init__(self, rules: Rules) -> None:
        self._tick_s = rules.tick_s
        self._flicker = ticks_in(rules.flicker_s, rules.tick_s)
        self._gap = ticks_in(rules.dwell_gap_s, rules.tick_s)
        self._least = rules.dwell_min_s
        self._zone = np.empty(0, np.int16)
        self._candidate = np.empty(0, np.int16)
        self._ticks = np.empty((5, 0), np.int64)  # first, last, candidate's both, departure
        self._sums = np.empty((4, 0), np.float64)  # ticks, p, p (1 - p), readings
        # The same of the candidate, and the readings of the whole excursion.
        self._candidate_sums = np.empty((5, 0), np.float64)

    def grow(self, seats: int) -> None:
        """Make room for more seats."""
        more = seats - len(self._zone)
        self._zone = np.concatenate([self._zone, np.full(more, NOWHERE, np.int16)])
        fresh = np.full(more, _NO_CANDIDATE, np.int16)
        self._candidate = np.concatenate([self._candidate, fresh])
        self._ticks = np.concatenate([self._ticks, np.zeros((5, more), np.int64)], axis=1)
        self._sums = np.concatenate([self._sums, np.zeros((4, more))], axis=1)
        self._candidate_sums = np.concatenate([self._candidate_sums, np.zeros((5, more))], axis=1)

    def feed(
        self,
        tick: int,
        seat: NDArray[np.int64],
        zone: NDArray[np.int16],
        zone_p: NDArray[np.float32],
        evidence: NDArray[np.bool_],
        readings: NDArray[np.int32],
    ) -> list[Stay]:
        """Take one tick of some seats.

        Parameters
        ----------
        tick : int, later than any tick fed before for these seats
        seat : shape (n,), distinct
        zone : shape (n,), int16, index into `Store.zones`, `NOWHERE` = in no zone
        zone_p : shape (n,), float32 [0-1]
        evidence : shape (n,), bool, heard or tapped in this tick
        readings : shape (n,), int32

        Returns
        -------
        stays : those that ended because another zone began, or silence lay between
        """
        ended = self.expire(tick, seat)
        p = zone_p.astype(np.float64)
        new = np.stack([np.ones(len(seat)), p, p * (1 - p), readings.astype(np.float64)])
        if not evidence.all():
            # A silent tick begins and ends nothing; it counts where its zone is held.
            held = ~evidence & (zone == self._zone[seat]) & (zone != NOWHERE)
            held &= self._candidate[seat] == _NO_CANDIDATE
            self._sums[:, seat[held]] += new[:, held]
            seat, zone, new = seat[evidence], zone[evidence], new[:, evidence]

        # Who was away for longer than a flicker does not come back to the same stay.
        gone = self._candidate[seat] != _NO_CANDIDATE
        gone &= tick - self._ticks[4, seat] > self._flicker
        if gone.any():
            ended += self._leave(seat[gone])
        current = self._zone[seat]
        same = (zone == current) & (current != NOWHERE)

        at = seat[same]
        # Readings of a bridged excursion belong to the stay it interrupted.
        self._sums[3, at] += self._candidate_sums[4, at]
        self._sums[:, at] += new[:, same]
        self._ticks[1, at] = tick
        self._clear_candidate(at)

        away = seat[~same]
        other = zone[~same]
        departs = away[self._candidate[away] == _NO_CANDIDATE]
        self._ticks[4, departs] = tick
        begins = self._candidate[away] != other
        self._candidate[away] = other
        self._ticks[2, away[begins]] = tick
        self._ticks[3, away] = tick
        self._candidate_sums[:4, away[begins]] = 0.0
        self._candidate_sums[:4, away] += new[:, ~same]
        self._candidate_sums[4, away] += new[3, ~same]
        leave = (self._zone[away] == NOWHERE) | (tick - self._ticks[4, away] + 1 > self._flicker)
        ended += self._leave(away[leave])
        return ended

    def expire(self, tick: int, seat: NDArray[np.int64]) -> list[Stay]:
        """End the stays of seats whose last evidence lies more than the gap before a tick."""
        ended: list[Stay] = []
        for _ in range(2):  # what a seat went to may have ended since then, too
            silent = (self._zone[seat] != NOWHERE) & (tick - self._ticks[1, seat] - 1 > self._gap)
            if not silent.any():
                break
            ended += self._leave(seat[silent])
        return ended

    def end(self, seat: NDArray[np.int64]) -> list[Stay]:
        """End whatever some seats are in: their visit is over."""
        return self._leave(seat) + self._leave(seat)

    def running(self, seat: int) -> tuple[int, int]:
        """Return the zone that a seat stays in, `NOWHERE` if none, and its first tick."""
        return int(self._zone[seat]), int(self._ticks[0, seat])

    def _clear_candidate(self, seat: NDArray[np.int64]) -> None:
        self._candidate[seat] = _NO_CANDIDATE
        self._candidate_sums[:, seat] = 0.0

    def _leave(self, seat: NDArray[np.int64]) -> list[Stay]:
        """End the stays of some seats; where they went to meanwhile becomes their stay."""
        candidate = self._candidate[seat]
        ended = self._ended(seat)
        self._zone[seat] = np.where(candidate == _NO_CANDIDATE, NOWHERE, candidate)
        self._ticks[:2, seat] = self._ticks[2:4, seat]
        self._sums[:, seat] = self._candidate_sums[:4, seat]
        self._clear_candidate(seat)
        return ended

    def _ended(self, seat: NDArray[np.int64]) -> list[Stay]:
        first, last = self._ticks[0, seat], self._ticks[1, seat]
        long_enough = (last - first + 1) * self._tick_s >= self._least
        at = seat[(self._zone[seat] != NOWHERE) & long_enough]
        if not len(at):
            return []
        ticks, p, spread, readings = self._sums[:, at]
        confidence = np.round(p / np.maximum(ticks, 1), 3)
        sigma_s = np.round(self._tick_s * np.sqrt(1 / 6 + _CORRELATED_TICKS * spread), 2)
        columns = (at, self._zone[at], *self._ticks[:2, at], confidence, sigma_s)
        return [
            Stay(
                seat=where,
                zone=zone,
                first=begin,
                last=end,
                confidence=sure,
                sigma_s=unsure_s,
                readings=int(count),
            )
            for where, zone, begin, end, sure, unsure_s, count in zip(
                *(column.tolist() for column in (*columns, readings)), strict=True
            )
        ]
