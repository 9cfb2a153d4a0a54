"""Running the test vectors that a profile carries.

Rules of the file: each profile is its own proof; a vector that needs AES is skipped,
and counted as skipped, where the `cryptography` package is missing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from firmware_profiles.compile import Profile
from firmware_profiles.decoded import Decoded, Fields, Options, Rejected
from firmware_profiles.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one vector went: `passed`, `failed` or `skipped`, with what was expected and found."""

    profile: str
    name: str
    state: str
    expected: str
    found: str


def decode_message(
    registry: Registry,
    profile: Profile,
    data: bytes,
    options: Options,
    *,
    matched: bool = False,
) -> list[Decoded | Rejected]:
    """Decode one input of a device, whatever its transport.

    Parameters
    ----------
    registry : all profiles
    profile : of the device
    data : an advert, a whole stream, or a record
    options : `address`, `key`, calibration and the like
    matched : an advert is matched among all profiles, and not only tried with this one

    Returns
    -------
    One result for each message found.
    """
    if profile.transport == "ble-adv":
        only = None if matched else profile.id
        address, key = options.get("address"), options.get("key")
        return [registry.decode_advert(data, address=address, key=key, only=only)]
    if profile.is_stream:
        stream = profile.stream(options)
        return [*stream.feed(data), *stream.finish()]
    return [profile.read(data, options)]


def result_of(found: list[Decoded | Rejected]) -> Fields | list[Fields] | str:
    """Return the fields of one message, those of several, or the first rejection's reason."""
    frames = [one.fields for one in found if isinstance(one, Decoded)]
    if len(frames) == 1:
        return frames[0]
    if frames:
        return frames
    reasons = [one.reason for one in found if isinstance(one, Rejected)]
    return next(
        (reason for reason in reasons if reason != "noise"), reasons[0] if reasons else "empty"
    )


def expected_of(test: Mapping[str, Any]) -> Fields | list[Fields] | None:
    """Return what a `[[test]]` expects: fields, a list of them, or None for a rejection."""
    if test.get("reject"):
        return None
    if "frames" in test:
        return list(test["frames"])
    return {**test.get("expect", {}), **dict.fromkeys(test.get("null", []))}


def options_of(test: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a `[[test]]`."""
    options = dict(test.get("options", {}))
    if "address" in test:
        options["address"] = test["address"]
    if "key_hex" in test:
        options["key"] = bytes.fromhex(test["key_hex"])
    return options


def prove(registry: Registry, name: str | None = None) -> list[Outcome]:
    """Run the vectors of one profile, or of all.

    Parameters
    ----------
    registry : all profiles
    name : of one profile

    Returns
    -------
    One outcome for each vector.

    Raises
    ------
    KeyError
        There is no such profile.
    """
    profiles = [registry.profiles[name]] if name else list(registry.profiles.values())
    return [
        _outcome(registry, profile, test)
        for profile in profiles
        for test in profile.table.get("test", [])
    ]


def _outcome(registry: Registry, profile: Profile, test: Mapping[str, Any]) -> Outcome:
    data, options = bytes.fromhex(test["hex"]), options_of(test)
    found = result_of(decode_message(registry, profile, data, options, matched=True))
    expected = expected_of(test)
    state = (
        "passed"
        if (isinstance(found, str) if expected is None else found == expected)
        else "failed"
    )
    if found == "no-crypto":
        state = "skipped"
    return Outcome(
        profile=profile.id,
        name=test["name"],
        state=state,
        expected="a rejection" if expected is None else str(expected),
        found=str(found),
    )
