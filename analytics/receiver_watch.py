"""Receivers that fell deaf, weak, or hear otherwise than they should, found by everybody's levels.

What a receiver hears of a tag is compared with what the filter expected before it heard
it. A tag whose power is wrong shifts all receivers alike, so only the difference to the
median of all receivers counts; each tag has one vote in a window, its mean, so that a
tag that lies about does not outvote the others. Whether a receiver hears at all is
compared with the share of ticks in which it used to hear tags of the same expected
level, or, while it has no past, in which the other receivers do.

Rules of the file: event time only, every closed tick once and in order; raw levels,
also of receivers that are taken out, so that they can come back. Measured with
``python -m tests.analytics.watch_bench receivers``, 12 receivers, 8 dB of noise, half of the
packets lost, 6 or 20 people: no false alarm in 24 h; deaf after 3 min; with a survey +8 and
-8 dB always, after 6 to 14 min, -20 dB always, after 8 to 40 min; without one and with 6
people 6 of 9 shifts within 50 min. A shift that ends is noticed after 4 to 11 min, with few
people later.
"""

import numpy as np
from numpy.typing import NDArray

from analytics.filter_model import REFERENCE_DBM
from analytics.rows import ReceiverHealth

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

DECIDE_S = 60.0
WINDOW_DECISIONS = 5
"""Votes are counted over the present window of five minutes and the one before it."""
VOTE_TICKS, VOTES_LEAST, TAGS_LEAST = 8, 6, 4
"""Levels of a tag that make a vote; votes and different tags that make a verdict."""
RECEIVERS_LEAST = 3
"""With two, nobody can say which of them shifted."""
FOLLOWED = 0.65
"""Of a receiver's shift this share is left: the belief follows the rest (12 receivers)."""
MOVED_DB, MOVED_BACK_DB = 4.5, 3.0
WEAK_DB, WEAK_BACK_DB = -12.0, -9.0
UNSURE_DB = 6.0
"""By so much weaker than weak must be what is compared with a map from geometry alone."""
CLIP_DB = 30.0
LASTING = 3
"""So many decisions with evidence must say the same, one after another."""
PAST_LEAST, PAST_MOST = 30, 2880
"""Without a survey a receiver is compared with its own past: half an hour, then ever slower."""
DEAF_SHARE, HEARS_SHARE = 0.1, 0.4
"""Of the ticks in which it should have heard: deaf below the first, well above the second."""
HEARING_EVERY, EXPECTED_LEAST, MINUTES = 5, 30.0, 10
"""Hearing is looked at in every fifth tick; so many times it must have been expected."""
USUAL_MOST, USUAL_PRIOR, OTHERS_PRIOR = 20_000, 50.0, 20.0
SHARE_UNKNOWN, SHARE_LEAST = 0.7, 0.3
HEARS_FROM_DBM = -80.0
"""What is heard in most ticks as long as nothing is known of a receiver."""
CLEAR_DB, CLEAR_MOST_DBM = 10.0, -72.0
"""Levels are compared so far above: near the limit a weak receiver tells of its best moments."""
LOW_DBM, STEP_DB, BINS = -100.0, 4.0, 13
OK, MOVED, WEAK, DEAF = "ok", "moved", "weak", "deaf"


class ReceiverWatch:
    """Health of all receivers of a store.

    Parameters
    ----------
    receivers : names, in the order of the levels
    tick_ns : int [ns], > 0
    anchored : the radio map is surveyed or learned; one drawn from geometry is no measure of
        a shift, then only a receiver's own past is

    Attributes
    ----------
    use : shape (receivers,), float32, 0 for receivers that the filter must not listen to
    """

    def __init__(self, receivers: tuple[str, ...], *, tick_ns: int, anchored: bool) -> None:
        count = len(receivers)
        self.use = np.ones(count, np.float32)
        self._names, self._tick_ns, self._anchored = receivers, tick_ns, anchored
        self._every = max(1, round(DECIDE_S * 1e9 / tick_ns))
        self._due: int | None = None
        self._decisions = 0
        self._from_db = np.full((count, 1), HEARS_FROM_DBM - REFERENCE_DBM, np.float32)
        self._hears_db = self._from_db.copy()
        # Sums of this window and of the one before: residual and number of a tag's levels,
        # and whether it was expected to be heard.
        self._sum = np.zeros((2, count, 0), np.float32)
        self._number = np.zeros((2, count, 0), np.float32)
        self._near = np.zeros((2, count, 0), np.bool_)
        # How often tags of some expected level could have been heard, and were.
        self._minutes = np.zeros((MINUTES, 2, count * BINS), np.int64)
        self._usual = np.zeros((2, count, BINS), np.int64)
        self._past_db = np.zeros(count)
        self._past = np.zeros(count, np.int64)
        self._state = [OK] * count
        self._says = [OK] * count
        self._in_a_row = [0] * count

    @property
    def states(self) -> tuple[str, ...]:
        """State of each receiver."""
        return tuple(self._state)

    def note(
        self, tick: int, level_db: F32, heard: F32, expected_db: F32, *, base: int = 0
    ) -> None:
        """Take in one tick of some lanes.

        Parameters
        ----------
        tick : int
        level_db : shape (receivers, lanes), raw levels [dB above -75 dBm], any if unheard
        heard : the same shape, 1 where there was a reading, else 0; also of those not in use
        expected_db : the same shape, what was expected before, with the tag's own power
        base : int, number of the first lane; a lane stands for one tag at a time
        """
        if len(self._names) < 2:
            return
        lanes = level_db.shape[1]
        self._grow(base + lanes)
        if self._due is None:
            self._due = tick - tick % self._every + self._every
        mine = slice(base, base + lanes)
        near = heard * (expected_db >= self._from_db)
        rest = level_db - expected_db
        np.maximum(rest, np.float32(-CLIP_DB), out=rest)
        np.minimum(rest, np.float32(CLIP_DB), out=rest)
        rest *= near
        self._sum[0, :, mine] += rest
        self._number[0, :, mine] += near
        if tick % HEARING_EVERY == 0:
            others = heard.sum(0) - heard > 0
            self._near[0, :, mine] |= others & (expected_db >= self._hears_db)
            step = ((expected_db - np.float32(LOW_DBM - REFERENCE_DBM)) / STEP_DB).astype(np.int64)
            step = np.clip(step, 0, BINS - 1) + BINS * np.arange(len(heard))[:, None]
            minute = self._minutes[self._decisions % MINUTES]
            minute[0] += np.bincount(step[others], minlength=minute.shape[1])
            minute[1] += np.bincount(step[others & (heard > 0)], minlength=minute.shape[1])

    def decide(self, tick: int) -> list[ReceiverHealth]:
        """Return changed states after a tick has been noted for all lanes; cheap when not due."""
        if self._due is None or tick < self._due:
            return []
        self._due = tick - tick % self._every + self._every
        middle, sd = self._middles()
        share = self._shares()
        settled = np.full(len(middle), self._anchored) | (self._past >= PAST_LEAST)
        left = np.where(self.use > 0, FOLLOWED, 1.0)
        offset, sd = (middle - np.where(settled, self._past_db, 0.0)) / left, sd / left
        found = []
        for r in range(len(self._names)):
            says = self._judge(r, float(offset[r]), float(sd[r]), float(share[r]))
            if not settled[r] and says in {OK, MOVED, WEAK}:
                # A map from geometry errs by some dB everywhere: only the gross is believed.
                says = WEAK if offset[r] + sd[r] <= WEAK_DB - UNSURE_DB else OK
            if self._state[r] == OK and says in {OK, None}:
                self._learn(r, float(middle[r]), float(share[r]))
            if says is None:
                continue
            self._in_a_row[r] = self._in_a_row[r] + 1 if says == self._says[r] else 1
            self._says[r] = says
            if says != self._state[r] and self._in_a_row[r] >= LASTING:
                self._state[r] = says
                self._sum[:, r] = self._number[:, r] = 0
                found.append(self._health(r, tick, float(offset[r]), float(share[r])))
        # Those that hear wrongly do harm, those that hear nothing do none: at least two stay.
        out = [r for r, state in enumerate(self._state) if state == WEAK]
        self.use[:] = 1.0
        self.use[out[: max(0, len(self._names) - 2)]] = 0.0
        self._roll()
        return found

    def _judge(self, r: int, offset: float, sd: float, share: float) -> str | None:
        """Return what the evidence says of a receiver, None = too little."""
        state = self._state[r]
        if share <= DEAF_SHARE or (state == DEAF and not share >= HEARS_SHARE):
            return DEAF if np.isfinite(share) else None
        if not np.isfinite(offset):
            # Heard again, and nothing said against it.
            return OK if state == DEAF else None
        if offset + sd <= WEAK_DB or (state == WEAK and offset <= WEAK_BACK_DB):
            return WEAK
        if abs(offset) - sd >= MOVED_DB or (state == MOVED and abs(offset) + sd >= MOVED_BACK_DB):
            return MOVED
        return OK

    def _middles(self) -> tuple[F64, F64]:
        """Return how much more each receiver hears than all, and the standard error [dB]."""
        count = len(self._names)
        middle, error = np.full(count, np.nan), np.full(count, np.nan)
        enough = self._number >= VOTE_TICKS
        for r in range(count):
            lanes = enough[:, r]
            votes = self._sum[:, r][lanes] / self._number[:, r][lanes]
            if len(votes) >= VOTES_LEAST and lanes.any(0).sum() >= TAGS_LEAST:
                middle[r] = np.median(votes)
                off = np.median(np.abs(votes - middle[r]))
                error[r] = 1.2533 * 1.4826 * off / np.sqrt(len(votes))
        known = np.isfinite(middle)
        if known.sum() < RECEIVERS_LEAST:
            return np.full(count, np.nan), error
        return middle - np.median(middle[known]), error

    def _shares(self) -> F64:
        """Return how often each receiver heard, against how often it should have; NaN = unknown."""
        count = len(self._names)
        tags = self._near.any(0).sum(1)
        possible_all, heard_all = self._usual.sum(1)
        prior = OTHERS_PRIOR * SHARE_UNKNOWN * (_STEPS_DBM >= HEARS_FROM_DBM)
        others = (heard_all + prior) / (possible_all + OTHERS_PRIOR)
        usual = (self._usual[1] + USUAL_PRIOR * others) / (self._usual[0] + USUAL_PRIOR)
        clear_dbm = _lowest_dbm(usual, 0.5) + CLEAR_DB
        self._from_db[:, 0] = np.minimum(clear_dbm, CLEAR_MOST_DBM) - REFERENCE_DBM
        self._hears_db[:, 0] = _lowest_dbm(usual, SHARE_LEAST) - REFERENCE_DBM
        usual = np.where(usual >= SHARE_LEAST, usual, 0.0)
        found = np.full(count, np.nan)
        expected, heard = np.zeros(count), np.zeros(count)
        for back in range(min(MINUTES, self._decisions + 1)):
            minute = self._minutes[(self._decisions - back) % MINUTES].reshape(2, count, BINS)
            expected += (minute[0] * usual).sum(1)
            heard += np.where(usual > 0, minute[1], 0).sum(1)
            new = np.isnan(found) & (expected >= EXPECTED_LEAST)
            found[new] = heard[new] / expected[new]
        return np.where(tags >= TAGS_LEAST - 1, found, np.nan)

    def _learn(self, r: int, middle_db: float, share: float) -> None:
        """Add a minute in which all was well to a receiver's past."""
        if not self._anchored and np.isfinite(middle_db):
            self._past[r] = min(self._past[r] + 1, PAST_MOST)
            self._past_db[r] += (middle_db - self._past_db[r]) / self._past[r]
        minute = self._minutes[self._decisions % MINUTES].reshape(2, -1, BINS)
        # One that never heard anything is not to be taken for one whose way it is.
        if share >= HEARS_SHARE or (np.isnan(share) and minute[1, r].any()):
            self._usual[:, r] += minute[:, r]
            if self._usual[0, r].sum() > USUAL_MOST:
                self._usual[:, r] //= 2

    def _roll(self) -> None:
        self._decisions += 1
        self._minutes[self._decisions % MINUTES] = 0
        if self._decisions % WINDOW_DECISIONS == 0:
            for state in (self._sum, self._number, self._near):
                state[1] = state[0]
                state[0] = 0

    def _health(self, r: int, tick: int, offset: float, share: float) -> ReceiverHealth:
        state = self._state[r]
        known = state in {MOVED, WEAK}
        less = "less" if offset < 0 else "more"
        reason = {
            OK: "hears what it should again",
            MOVED: f"hears {abs(offset):.1f} dB {less} than it should: turned, moved or shaded",
            WEAK: f"hears {abs(offset):.1f} dB less than it should: antenna or amplifier",
            DEAF: f"hears {share:.0%} of what it should, while others hear those tags",
        }[state]
        return ReceiverHealth(
            receiver=self._names[r],
            state=state,
            since_ns=(tick + 1) * self._tick_ns,
            offset_db=round(offset, 1) if known else None,
            reason=reason,
        )

    def _grow(self, lanes: int) -> None:
        more = lanes - self._sum.shape[2]
        if more > 0:
            wider = ((0, 0), (0, 0), (0, more))
            self._sum = np.pad(self._sum, wider)
            self._number = np.pad(self._number, wider)
            self._near = np.pad(self._near, wider)


def _lowest_dbm(usual: F64, share: float) -> F64:
    """Return from which expected level upwards each receiver hears at least so often."""
    seldom = usual < share
    last = np.where(seldom.any(1), BINS - seldom[:, ::-1].argmax(1), 0)
    lowest: F64 = _STEPS_DBM[np.minimum(last, BINS - 1)]
    return lowest


_STEPS_DBM = LOW_DBM + STEP_DB * np.arange(BINS, dtype=np.float64)
