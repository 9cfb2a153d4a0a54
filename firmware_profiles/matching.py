"""Matching: whether the data of an advert are what a profile describes.

Rules of the file: looked up by company or service first (`registry`), then by length,
prefix under a mask, and only where a profile asks for it by name or list of services.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from firmware_profiles.advert import name_matches, offers_service
from firmware_profiles.compile import Profile
from firmware_profiles.decoded import Decoded, Options, Rejected

Read = Callable[[bytes, Options], Decoded | Rejected]
Matches = Callable[[bytes], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A profile that an advert may belong to, and what it takes."""

    profile: Profile
    read: Read
    matches: Matches
    needs: Matches | None
    company_field: str | None
    name_field: str | None
    is_plain: bool


Entry = tuple[Matches, Matches | None, Read, Candidate]
"""The parts of a candidate in the order an advert needs them: a tuple opens fastest."""


def candidate_of(profile: Profile) -> Candidate:
    """Compile the `[match]` of a profile.

    Parameters
    ----------
    profile : one with transport `ble-adv`

    Returns
    -------
    The compiled match.
    """
    match = profile.table["match"]
    name, service = match.get("name"), match.get("service_list")

    hint = re.split(r"[*?\[]", name or "")[0].encode()

    def needs(advert: bytes) -> bool:
        if hint not in advert:
            return False
        named = name is None or name_matches(advert, name)
        return named and (service is None or offers_service(advert, service))

    company_field, name_field = match.get("company_field"), match.get("name_field")
    return Candidate(
        profile=profile,
        read=profile.read,
        matches=_compile_matches(
            match.get("length", match.get("min_length", 0)),
            match.get("length", match.get("max_length", 255)),
            bytes.fromhex(match.get("prefix", "")),
            bytes.fromhex(match.get("mask", "")),
        ),
        needs=needs if name is not None or service is not None else None,
        company_field=company_field,
        name_field=name_field,
        is_plain=company_field is None and name_field is None,
    )


def _compile_matches(low: int, high: int, prefix: bytes, mask: bytes) -> Matches:
    if not mask or set(mask) == {0xFF}:
        if low == high:
            return lambda body: len(body) == low and body.startswith(prefix)
        return lambda body: low <= len(body) <= high and body.startswith(prefix)
    if len(mask) == 1:
        bits, wanted = mask[0], prefix[0] & mask[0]
        return lambda body: low <= len(body) <= high and body != b"" and body[0] & bits == wanted
    pairs = tuple((at, bits, prefix[at] & bits) for at, bits in enumerate(mask) if bits)
    least = max(low, len(mask))

    def matches(body: bytes) -> bool:
        return least <= len(body) <= high and all(
            body[at] & bits == want for at, bits, want in pairs
        )

    return matches
