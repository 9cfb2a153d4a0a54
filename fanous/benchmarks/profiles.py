"""How many mixed adverts a second one core decodes, beside other decoders if installed.

Rules of the file: the mix is every unencrypted advert with an expected value among the
vectors that the profiles carry, decoded whole (structures, match, fields, tag, emits), in
a fixed random order, with the sender's address as a radio gives it. Nobody else decodes
the whole mix, so each peer is measured on what it decodes of it, and we on the same.
"""

import random
from collections.abc import Mapping, Sequence

from fanous.benchmarks.figure import Figure, Say, best_cpu_s
from fanous.benchmarks.profiles_peers import PEERS, Decode, Peer, understood
from firmware_profiles.registry import Registry, load_registry

ADDRESS = "AA:BB:CC:DD:EE:FF"
ADVERTS, ADVERTS_PEER = 10_000, 2_000
"""Adverts in one repeat: short, so that among many some are not disturbed. The best counts."""
REPEATS_QUICK, REPEATS_FULL = 3, 100


def measure(*, quick: bool, say: Say, peers: Mapping[str, Peer] = PEERS) -> tuple[Figure, ...]:
    """Measure adverts decoded a second, and the time to load all profiles.

    Parameters
    ----------
    quick : fewer rounds
    say : told what is being measured
    peers : other decoders to measure beside ours, where they are installed
    """
    say("loading the profiles")
    load_s = best_cpu_s(load_registry, repeats=1 if quick else 3)
    registry = load_registry()
    mix = _mix(registry)
    repeats = REPEATS_QUICK if quick else REPEATS_FULL
    say(f"decoding {ADVERTS} adverts of {len(mix)} kinds, {repeats} times")
    figures = [
        Figure(
            name="profiles.adverts",
            value=_our_rate(registry, mix, repeats),
            unit="adverts/s",
            better="higher",
        ),
        Figure(name="profiles.load", value=load_s * 1000, unit="ms", better="lower"),
    ]
    kinds: dict[str, float] = {}
    for name, peer in peers.items():
        missing = peer.missing()
        if missing:
            say(f"{name} left out: {' and '.join(missing)} not installed; try make bench-decoders")
            continue
        calls = peer.prepare(mix, ADDRESS)
        places = understood(calls)
        kinds[name] = len(places)
        say(f"{name} decodes {len(places)} of the {len(mix)} kinds; both decode those")
        if not places:
            continue
        figures.append(
            Figure(
                name=f"profiles.kinds_of_{name.replace('-', '_')}",
                value=_our_rate(registry, [mix[place] for place in places], repeats),
                unit="adverts/s",
                better="higher",
                peer={name: _their_rate([calls[place] for place in places], repeats)},
            )
        )
    if kinds:
        figures.append(
            Figure(name="profiles.kinds", value=len(mix), unit="kinds", better="higher", peer=kinds)
        )
    return tuple(figures)


def _our_rate(registry: Registry, adverts: Sequence[bytes], repeats: int) -> float:
    """Return adverts a second [1/s]."""
    decode = registry.decode_advert
    rounds = max(1, ADVERTS // len(adverts))

    def work() -> None:
        for _ in range(rounds):
            for data in adverts:
                decode(data, address=ADDRESS)

    return rounds * len(adverts) / best_cpu_s(work, repeats=repeats)


def _their_rate(calls: Sequence[Decode], repeats: int) -> float:
    """Return adverts a second [1/s], each a call, which costs them 0.1 of 20 microseconds."""
    rounds = max(1, ADVERTS_PEER // len(calls))

    def work() -> None:
        for _ in range(rounds):
            for call in calls:
                call()

    return rounds * len(calls) / best_cpu_s(work, repeats=repeats)


def _mix(registry: Registry) -> list[bytes]:
    adverts = [
        bytes.fromhex(test["hex"])
        for profile in registry.profiles.values()
        if profile.transport == "ble-adv"
        for test in profile.table["test"]
        if not test.get("reject") and "key_hex" not in test
    ]
    random.Random(1).shuffle(adverts)  # noqa: S311 - a fixed order, no secret
    return adverts
