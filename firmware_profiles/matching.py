"""Matching: whether the data of an advert are what a profile describes.

Rules of the file: a profile is looked up by who speaks (company or service) and, where
it says one, by the first byte of the data; both are the key of one dictionary, so that
an advert meets only profiles that may fit. Then comes the length, the rest of a prefix
under a mask, and only where a profile asks for it the name or the list of services.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import translate

from firmware_profiles.advert import MANUFACTURER, SERVICE_DATA16, local_name, offers_service
from firmware_profiles.compile import Profile, ReadFrom
from firmware_profiles.decoded import Fields

Matches = Callable[[bytes], bool]
Add = Callable[[Fields, bytes, int], None]
Entry = tuple[int, int, Matches | None, Matches | None, ReadFrom, Add | None, str]
"""What an advert needs of a profile, in that order: least and most bytes of data, what
the data must match further, what the whole advert must have, the decoder, what adds
fields from the advert, and the profile's id. A tuple opens faster than a record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A profile that an advert may belong to.

    `speaker` is AD type << 16 | company or service, None for any company; `firsts` the
    first bytes that its data may have, None for any; `begin` the first two, for any company.
    """

    id: str
    speaker: int | None
    firsts: frozenset[int] | None
    begin: int
    entry: Entry


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
    prefix = bytes.fromhex(match.get("prefix", ""))
    mask = bytes.fromhex(match.get("mask", "")) or b"\xff" * len(prefix)
    firsts = None
    if mask and mask[0]:
        firsts = frozenset(b for b in range(256) if b & mask[0] == prefix[0] & mask[0])
    if "any_company" in match:
        speaker = None
    elif "company_id" in match:
        speaker = MANUFACTURER << 16 | match["company_id"]
    else:
        speaker = SERVICE_DATA16 << 16 | match["service_uuid"]
    entry = (
        max(match.get("length", match.get("min_length", 0)), len(prefix)),
        match.get("length", match.get("max_length", 255)),
        _compile_matches(prefix, mask),
        _compile_needs(match.get("name"), match.get("service_list")),
        profile.read_from,
        _compile_add(match.get("company_field"), match.get("name_field")),
        profile.id,
    )
    begin = int.from_bytes(prefix[:2])
    return Candidate(id=profile.id, speaker=speaker, firsts=firsts, begin=begin, entry=entry)


def heads_of(candidates: Iterable[Candidate]) -> dict[bytes, tuple[Entry, ...]]:
    """Return the profiles to try by how an AD structure begins, after its length.

    Parameters
    ----------
    candidates : best first

    Returns
    -------
    Under 4 bytes (type, number, first byte of the data): all that may fit, for the first
    bytes that some profile asks for. Under 3 bytes (type, number): those that ask for no
    first byte, for all other data; perhaps none, which tells a known sender from others.
    """
    speakers: dict[int, list[Candidate]] = {}
    for candidate in candidates:
        if candidate.speaker is not None:
            speakers.setdefault(candidate.speaker, []).append(candidate)
    heads: dict[bytes, tuple[Entry, ...]] = {}
    for speaker, found in speakers.items():
        start = bytes((speaker >> 16, speaker & 0xFF, speaker >> 8 & 0xFF))
        heads[start] = tuple(one.entry for one in found if one.firsts is None)
        for first in frozenset[int]().union(*(one.firsts or () for one in found)):
            heads[start + bytes((first,))] = tuple(
                one.entry for one in found if one.firsts is None or first in one.firsts
            )
    return heads


def _compile_matches(prefix: bytes, mask: bytes) -> Matches | None:
    """Return what is left to check when the first byte is known to be right."""
    if len(mask) < 2:
        return None
    if set(mask) == {0xFF}:
        return lambda body: body.startswith(prefix)
    pairs = tuple((at, bits, prefix[at] & bits) for at, bits in enumerate(mask) if bits)
    return lambda body: all(body[at] & bits == want for at, bits, want in pairs)


def _compile_needs(name: str | None, service: int | None) -> Matches | None:
    if name is None:
        return None if service is None else lambda advert: offers_service(advert, service)
    hint = re.split(r"[*?\[]", name)[0].encode()
    named = re.compile(translate(name)).match

    def needs(advert: bytes) -> bool:
        if hint not in advert:
            return False
        found = local_name(advert)
        if found is None or not named(found):
            return False
        return service is None or offers_service(advert, service)

    return needs


def _compile_add(company_field: str | None, name_field: str | None) -> Add | None:
    if company_field is None and name_field is None:
        return None

    def add(fields: Fields, advert: bytes, begin: int) -> None:
        if company_field is not None:
            fields[company_field] = advert[begin - 2] | advert[begin - 1] << 8
        if name_field is not None:
            fields[name_field] = local_name(advert)

    return add
