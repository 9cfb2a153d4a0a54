"""A simulated hall with people for the watches of receivers and tags, and their figures.

``python -m tests.analytics.watch_bench receivers`` and ``… tags`` print how often each
watch is wrong, and how fast it is right. Rules of the file: the receivers' laws and the
shadowing are those of `simulators.radio`, packets are drawn here, so that noise, bursts,
bodies and losses can be far worse than there.
"""

import dataclasses
import sys
import time
from collections.abc import Iterator

import numpy as np

from analytics.cells import build_cells
from analytics.filter_model import REFERENCE_DBM, build_model
from analytics.radio_map import P0_DBM, RadioMap, radio_map_from_geometry
from analytics.receiver_watch import ReceiverWatch
from analytics.store import Receiver, Store
from analytics.tag_watch import TagWatch
from analytics.tracker import OFFSET_START_DB2, Scratch, Tracker
from simulators.radio import RadioWorld

HARD = {"noise_db": 8.0, "body_db": 6.0, "burst_db": 6.0, "loss": 0.5}
MIDDLE = {"noise_db": 6.0, "body_db": 4.0, "burst_db": 3.0, "loss": 0.3}
EASY = {"noise_db": 4.5, "body_db": 3.0, "burst_db": 0.0, "loss": 0.2}
WIDTH_M, HEIGHT_M = 24.0, 16.0
SENSITIVE_DBM = -93.0


def hall(across: int = 4, up: int = 3, *, name: str = "hall") -> Store:
    """Return a hall of 24 m × 16 m with a grid of receivers."""
    places = [
        ((i + 0.5) * WIDTH_M / across, (j + 0.5) * HEIGHT_M / up, 2.5)
        for i in range(across)
        for j in range(up)
    ]
    return Store(
        id=name,
        name=name,
        timezone="UTC",
        outline_m=((0, 0), (WIDTH_M, 0), (WIDTH_M, HEIGHT_M), (0, HEIGHT_M)),
        receivers=tuple(Receiver(id=f"rx-{i}", position_m=place) for i, place in enumerate(places)),
    )


def surveyed(store: Store, *, error_db: float = 2.0) -> RadioMap:
    """Return the true radio map with errors."""
    grid = build_cells(store)
    mean = RadioWorld(store).mean_dbm(grid.x_m, grid.y_m)
    mean = mean + np.random.default_rng(5).normal(0, error_db, mean.shape)
    receivers = mean.shape[1]
    return RadioMap(
        mean_dbm=mean,
        sd_db=np.full(mean.shape, 2.0),
        p0_dbm=np.full(receivers, -60.0),
        exponent=np.full(receivers, 2.0),
        noise_db=6.0,
        source="survey",
    )


def drawn(store: Store, exponent: float) -> RadioMap:
    """Return a map from geometry with another exponent."""
    found = radio_map_from_geometry(store, build_cells(store))
    ten_log = (P0_DBM - found.mean_dbm) / found.exponent
    return dataclasses.replace(found, mean_dbm=P0_DBM - exponent * ten_log)


class Walkers:
    """People who walk from point to point and stay there a while."""

    def __init__(self, rng: np.random.Generator, count: int, *, width_m: float = WIDTH_M) -> None:
        self._rng, self._count = rng, count
        self._high = np.array([width_m - 0.4, HEIGHT_M - 0.4])
        self.at = self._points()
        self._goal, self._wait_s = self._points(), np.zeros(count)
        self._speed = rng.uniform(0.5, 1.3, count)

    def step(self) -> np.ndarray:
        """Walk for a second; return the places, shape (count, 2)."""
        way = self._goal - self.at
        far = np.hypot(*way.T)
        share = np.minimum(1, self._speed / np.maximum(far, 1e-9)) * (self._wait_s <= 0)
        self.at = self.at + way * share[:, None]
        self._wait_s = np.maximum(self._wait_s - 1, 0)
        there = (far < 0.3) & (self._wait_s <= 0)
        self._wait_s[there] = self._rng.exponential(20, there.sum())
        self._goal[there] = self._points()[there]
        return self.at

    def _points(self) -> np.ndarray:
        return self._rng.uniform(0.4, self._high, (self._count, 2))


class Packets:
    """What receivers hear of tags: two packets a second, each with its own fate."""

    def __init__(
        self,
        store: Store,
        rng: np.random.Generator,
        count: int,
        *,
        noise_db: float,
        body_db: float,
        burst_db: float,
        loss: float,
    ) -> None:
        self._world, self._rng, self._count = RadioWorld(store), rng, count
        self._noise, self._body, self._burst, self._loss = noise_db, body_db, burst_db, loss
        self.tag_db = rng.normal(0, 4, count)
        self.shift_db = np.zeros(self._world.receivers)
        self._slow = rng.normal(0, noise_db * 0.3**0.5, (self._world.receivers, count))
        self._heading, self._bursting = rng.uniform(0, 6.3, count), np.zeros(count)

    def renew(self, lanes: np.ndarray) -> None:
        """Give other tags to some lanes."""
        self.tag_db[lanes] = self._rng.normal(0, 4, len(lanes))

    def hear(self, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return levels and whether they were heard, shape (packets, receivers, count)."""
        rng, kept = self._rng, np.exp(-1 / 3)
        self._slow *= kept
        self._slow += rng.normal(0, self._noise * (0.3 * (1 - kept**2)) ** 0.5, self._slow.shape)
        turns = rng.random(self._count) < 0.1
        self._heading = np.where(turns, rng.uniform(0, 6.3, self._count), self._heading)
        begins = rng.random(self._count) < 0.1 / 5
        self._bursting = np.where(begins, 5, np.maximum(self._bursting - 1, 0))
        x, y = at.T
        mean = self._world.mean_dbm(x, y).T + self.tag_db + self._slow + self.shift_db[:, None]
        mean += self._body * np.cos(self._world.bearing(x, y).T - self._heading)
        mean -= self._burst * (self._bursting > 0)
        level = mean + rng.normal(0, self._noise * 0.7**0.5, (2, *mean.shape))
        caught = (1 - self._loss) / (1 + np.exp((SENSITIVE_DBM - level) / 2))
        return np.round(level), rng.random(level.shape) < caught


def reduced(level: np.ndarray, heard: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the tick's power mean and level mean [dB above -75 dBm], 0 if unheard, and count."""
    count = heard.sum(0).astype(np.int32)
    power = (10 ** (level / 10) * heard).sum(0) / np.maximum(count, 1)
    known = count > 0
    mean = (level * heard).sum(0) / np.maximum(count, 1) - REFERENCE_DBM
    loud = 10 * np.log10(np.where(known, power, 1.0)) - REFERENCE_DBM
    return (
        np.where(known, loud, 0).astype(np.float32),
        np.where(known, mean, 0).astype(np.float32),
        count,
    )


class Filter:
    """The position filter of one block, with a watch of receivers that it obeys."""

    def __init__(self, store: Store, radio_map: RadioMap, lanes: int) -> None:
        grid = build_cells(store)
        self.model = build_model(grid, radio_map, tick_s=1.0)
        self.tracker = Tracker(self.model, Scratch(self.model, lanes), lanes=lanes, depth=2)
        self.use = np.ones(len(store.receivers), np.float32)

    def step(self, tick: int, level: np.ndarray, count: np.ndarray) -> np.ndarray:
        """Advance; return the places, shape (2, lanes)."""
        heard = (count > 0).astype(np.float32) * self.use[:, None]
        found = self.tracker.step(tick, level, heard)
        return found[:2] + np.array(self.model.origin_m, np.float32)[:, None]


def receiver_story(
    store: Store,
    radio_map: RadioMap,
    *,
    people: int,
    seconds: int,
    seed: int,
    shifts: dict[int, tuple[int, float]],
    deaf: tuple[int, ...] = (),
    packets: dict[str, float] | None = None,
    first_tick: int = 1,
) -> tuple[list[tuple[int, object]], ReceiverWatch]:
    """Play a hall; return changes of state with their second, and the watch.

    `shifts` says from which second on a receiver (by number) hears so much more; a receiver
    in `deaf` hears nothing during the second third.
    """
    rng = np.random.default_rng(seed)
    walkers, radio = Walkers(rng, people), Packets(store, rng, people, **(packets or HARD))
    names = tuple(receiver.id for receiver in store.receivers)
    watch = ReceiverWatch(names, tick_ns=10**9, anchored=radio_map.source != "geometry")
    block = Filter(store, radio_map, people)
    changes = []
    for second in range(seconds):
        tick = first_tick + second
        for receiver, (since, shift) in shifts.items():
            radio.shift_db[receiver] = shift if since <= second < since + seconds // 2 else 0.0
        left = np.flatnonzero(rng.random(people) < 1 / 600)  # ten minutes each
        radio.renew(left)
        for lane in left.tolist():
            block.tracker.restart(
                lane, offset_db=0.0, variance_db2=OFFSET_START_DB2, rested_ticks=0
            )
        level, heard = radio.hear(walkers.step())
        if seconds / 3 <= second < 2 * seconds / 3:
            heard[:, list(deaf)] = False
        loud, _, count = reduced(level, heard)
        block.step(tick, loud, count)
        watch.note(tick, loud, (count > 0).astype(np.float32), block.tracker.expected_db)
        changes += [(second, change) for change in watch.decide(tick)]
        block.use[:] = watch.use
    return changes, watch


def pairs(rng: np.random.Generator, count: int, apart_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs of places that lie so far apart."""
    here = rng.uniform(0.5, (WIDTH_M - 0.5, HEIGHT_M - 0.5), (count * 400, 2))
    angle = rng.uniform(0, 6.3, len(here))
    there = here + apart_m * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    fits = ((there > 0.4) & (there < (WIDTH_M - 0.4, HEIGHT_M - 0.4))).all(axis=1)
    return here[fits][:count], there[fits][:count]


def places(kind: str, rng: np.random.Generator, count: int) -> Iterator[tuple]:
    """Yield each second where tags are, and where their copies are, or None."""
    if kind.startswith("apart"):
        here, there = pairs(rng, count, float(kind[5:]))
        while True:
            yield here, there
    if kind == "ends":
        one, other = (Walkers(rng, count, width_m=7) for _ in range(2))
        while True:
            yield one.step(), other.step() + np.array([WIDTH_M - 7, 0])
    walkers = Walkers(rng, count)
    while True:
        yield walkers.step(), None


def tag_story(
    store: Store,
    radio_map: RadioMap,
    kind: str,
    packets: dict[str, float],
    *,
    tags: int,
    seconds: int,
    seed: int,
    since: int = 15,
    usual: np.ndarray | None = None,
    jump: bool = False,
) -> tuple[list[tuple[int, object]], TagWatch]:
    """Play tags that are copied (or, with `jump`, carried off at once) after some seconds."""
    rng = np.random.default_rng(seed)
    where = places(kind, rng, tags)
    radio, copies = (Packets(store, rng, tags, **packets) for _ in range(2))
    copies.tag_db = radio.tag_db
    watch = TagWatch(np.array([r.position_m for r in store.receivers]), tick_s=1.0)
    if usual is not None:
        watch.usual_counts[:] = usual
    block = Filter(store, radio_map, tags)
    flags = []
    for second in range(1, seconds + 1):
        here, there = next(where)
        copied = there is not None and second > since
        level, heard = radio.hear(there if copied and jump else here)
        if copied and not jump:
            other, also = copies.hear(there)
            level, heard = np.concatenate([level, other]), np.concatenate([heard, also])
        loud, mean, count = reduced(level, heard)
        x, y = block.step(second, loud, count)
        watch.note(second, loud, mean, count, x, y)
        flags += [(second - since, flag) for flag in watch.decide(second)]
    return flags, watch


def tell_receivers() -> None:
    """Print false alarms per hour and times to detection."""
    for map_name, radio_map in (("survey", surveyed(hall())), ("geometry", drawn(hall(), 2.0))):
        for people in (6, 20):
            alarms = 0
            for seed in range(3):
                changes, _ = receiver_story(
                    hall(), radio_map, people=people, seconds=7200, seed=seed, shifts={}
                )
                alarms += len(changes)
            print(f"{map_name}, {people} people: {alarms} false alarms in 6 h", flush=True)
            for shift in (8.0, -8.0, -20.0):
                found = []
                for seed in range(3):
                    changes, _ = receiver_story(
                        hall(), radio_map, people=people, seconds=7200, seed=seed,
                        shifts={4 * seed: (3000, shift)},
                    )  # fmt: skip
                    found.append([
                        (second - 3000, change.receiver, change.state, change.offset_db)
                        for second, change in changes
                    ])  # fmt: skip
                print(f"  {shift:+g} dB at 0, back at 3600: {found}", flush=True)
            changes, _ = receiver_story(
                hall(), radio_map, people=people, seconds=5400, seed=1, shifts={}, deaf=(4,)
            )
            told = [(second - 1800, c.receiver, c.state) for second, c in changes]
            print(f"  rx-4 deaf at 0, back at 1800: {told}", flush=True)


def tell_tags() -> None:
    """Print false flags and detection within 30 s."""
    store = hall()
    for name, packets in (("hard", HARD), ("middle", MIDDLE), ("easy", EASY)):
        wrong = {"cloned": 0, "teleported": 0}
        for exponent in (1.4, 2.6):
            flags, watch = tag_story(
                store, drawn(store, exponent), "one", packets, tags=256, seconds=1800, seed=11
            )
            for _, flag in flags:
                wrong[flag.kind] += 1
        print(f"{name}: wrong in 256 tag-hours: {wrong}, usual {watch.usual_db:.1f} dB", flush=True)
        for kind in ("apart10", "apart13", "apart17", "ends"):
            flags, _ = tag_story(
                store, surveyed(store), kind, packets, tags=256, seconds=45, seed=3,
                usual=watch.usual_counts,
            )  # fmt: skip
            found = [second for second, flag in flags if flag.kind == "cloned"]
            middle = np.median(found) if found else np.nan
            print(f"  copies {kind}: {len(found) / 256:.1%} within 30 s, median {middle:.0f} s")
        for kind in ("apart14", "apart18"):
            flags, _ = tag_story(
                store, surveyed(store), kind, packets, tags=256, seconds=60, seed=4, since=30,
                usual=watch.usual_counts, jump=True,
            )  # fmt: skip
            found = [second for second, flag in flags if flag.kind == "teleported"]
            print(f"  jumps {kind}: {len(found) / 256:.1%}")
    for lanes in (64, 256, 1024):
        print(f"{lanes} lanes: {cost_us(lanes)} µs per tag and tick (receivers, tags)")


def cost_us(lanes: int, ticks: int = 600) -> tuple[float, float]:
    """Return what each watch costs per tag and tick [µs]."""
    store, rng = hall(), np.random.default_rng(1)
    radio, walkers = Packets(store, rng, lanes, **MIDDLE), Walkers(rng, lanes)
    level, mean, count = reduced(*radio.hear(walkers.at))
    heard, expected = (count > 0).astype(np.float32), level + np.float32(2)
    x, y = walkers.at.T.astype(np.float32)
    receivers = ReceiverWatch(tuple(r.id for r in store.receivers), tick_ns=10**9, anchored=True)
    tags = TagWatch(np.array([r.position_m for r in store.receivers]), tick_s=1.0)
    spent = [0.0, 0.0]
    for tick in range(1, ticks + 1):
        start = time.perf_counter()
        receivers.note(tick, level, heard, expected)
        receivers.decide(tick)
        middle = time.perf_counter()
        tags.note(tick, level, mean, count, x, y)
        tags.decide(tick)
        spent[0] += middle - start
        spent[1] += time.perf_counter() - middle
    return round(spent[0] / ticks / lanes * 1e6, 3), round(spent[1] / ticks / lanes * 1e6, 3)


if __name__ == "__main__":
    {"receivers": tell_receivers, "tags": tell_tags}[sys.argv[1]]()
