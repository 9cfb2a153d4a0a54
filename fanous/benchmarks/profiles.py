"""How many mixed adverts a second one core decodes.

Rules of the file: the mix is every unencrypted advert with an expected value among the
vectors that the profiles carry, decoded whole (structures, match, fields, tag, emits), in
a fixed random order, with the sender's address as a radio gives it.
"""

import random

from fanous.benchmarks.figure import Figure, Say, best_cpu_s
from firmware_profiles.registry import Registry, load_registry

ADDRESS = "AA:BB:CC:DD:EE:FF"


def measure(*, quick: bool, say: Say) -> tuple[Figure, ...]:
    """Measure adverts decoded a second, and the time to load all profiles.

    Parameters
    ----------
    quick : fewer rounds
    say : told what is being measured
    """
    say("loading the profiles")
    load_s = best_cpu_s(load_registry, repeats=1 if quick else 3)
    registry = load_registry()
    mix = _mix(registry)
    rounds = max(1, (10_000 if quick else 200_000) // len(mix))
    say(f"decoding {rounds * len(mix)} adverts of {len(mix)} kinds")
    decode = registry.decode_advert

    def work() -> None:
        for _ in range(rounds):
            for data in mix:
                decode(data, address=ADDRESS)

    return (
        Figure(
            name="profiles.adverts",
            value=rounds * len(mix) / best_cpu_s(work),
            unit="adverts/s",
            better="higher",
        ),
        Figure(name="profiles.load", value=load_s * 1000, unit="ms", better="lower"),
    )


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
