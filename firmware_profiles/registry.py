"""The registry: every profile by name, and adverts matched to profiles.

Rules of the file: profiles are looked up by (kind, id) in one dictionary, so the cost
of an advert does not grow with their number. A profile file that is refused leaves its
message in `Registry.errors`; the others load. Any bytes give a `Decoded` or a
`Rejected`, never an exception.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType
from typing import Any, cast

from firmware_profiles.advert import MANUFACTURER, SERVICE_DATA16, local_name
from firmware_profiles.compile import Profile, compile_profile
from firmware_profiles.decoded import Decoded, Options, Rejected
from firmware_profiles.form import FormError, KeyPath, check_form, line_of
from firmware_profiles.framers import FrameStream
from firmware_profiles.lines import LineStream
from firmware_profiles.matching import Candidate, Entry, candidate_of
from firmware_profiles.writing import write_message

_NO_OPTIONS: Options = MappingProxyType({})
_MALFORMED = Rejected("malformed-advert")
_UNKNOWN = Rejected("unknown-device")
_NO_MATCH = Rejected("no-match")


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """All profiles that loaded, by name, and the messages about those that did not."""

    profiles: Mapping[str, Profile]
    errors: tuple[str, ...]
    by_id: Mapping[int, tuple[Entry, ...]]
    by_prefix: Mapping[int, tuple[Entry, ...]]

    def decode_advert(
        self,
        data: bytes,
        *,
        address: str | None = None,
        key: bytes | None = None,
        only: str | None = None,
    ) -> Decoded | Rejected:
        """Decode a Bluetooth advert by the first profile that matches.

        Parameters
        ----------
        data : the AD structures as received
        address : of the sender, if it may be used as identity; also for decryption
        key : of the sender, 16 bytes, for encrypted adverts
        only : consider this profile alone

        Returns
        -------
        The measurement, or why there is none.

        Examples
        --------
        >>> advert = bytes.fromhex("0201061aff4c000215b9407f30f5f8466eaff925556b57fe6d00010100b4")
        >>> load_registry().decode_advert(advert).tag
        'ibeacon:b9407f30-f5f8-466e-aff9-25556b57fe6d-1-256'
        """
        hits: list[tuple[tuple[Entry, ...], int, int]] | None = None
        by_id, by_prefix = self.by_id, self.by_prefix
        at, end = 0, len(data)
        while at < end:
            size = data[at]
            if size == 0:
                break
            stop = at + size + 1
            if stop > end:
                return _MALFORMED
            kind = data[at + 1]
            if (kind == SERVICE_DATA16 or kind == MANUFACTURER) and size > 2:  # noqa: PLR1714, SIM109
                found = by_id.get(kind << 16 | data[at + 3] << 8 | data[at + 2])
                if found is not None:
                    hits = (
                        [(found, at + 4, stop)] if hits is None else [*hits, (found, at + 4, stop)]
                    )
                if kind == MANUFACTURER and size > 4:
                    found = by_prefix.get(data[at + 4] << 8 | data[at + 5])
                    if found is not None:
                        hits = [*(hits or ()), (found, at + 4, stop)]
            at = stop
        if hits is None:
            return _UNKNOWN
        options = (
            _NO_OPTIONS if address is None and key is None else {"address": address, "key": key}
        )
        rejected: Decoded | Rejected = _NO_MATCH
        for entries, begin, stop in hits:
            body = data[begin:stop]
            for matches, needs, read, candidate in entries:
                if not matches(body) or (needs is not None and not needs(data)):
                    continue
                if only is not None and candidate.profile.id != only:
                    continue
                result = read(body, options)
                if type(result) is Rejected:
                    rejected = result
                elif candidate.is_plain:
                    return result
                else:
                    return _with_context(cast("Decoded", result), candidate, data, begin)
        return rejected

    def profiles_for(self, sender_id: str) -> tuple[str, ...]:
        """Return the profiles that know a company or service, whether or not they match.

        Parameters
        ----------
        sender_id : as `advert.sender_ids` gives it

        Returns
        -------
        Names of profiles, best first.

        Examples
        --------
        >>> load_registry().profiles_for("company:004c")
        ('ibeacon', 'apple_continuity')
        """
        space, _, number = sender_id.partition(":")
        kind = MANUFACTURER if space == "company" else SERVICE_DATA16
        found = self.by_id.get(kind << 16 | int(number, 16), ())
        return tuple(entry[3].profile.id for entry in found)

    def decode(self, name: str, data: bytes, options: Options = _NO_OPTIONS) -> Decoded | Rejected:
        """Decode one whole message of a named device: a frame's content, a line, a record.

        Parameters
        ----------
        name : of the profile
        data : the message
        options : what it needs beside its bytes: `bit_length`, calibration, `key`

        Returns
        -------
        The measurement, or why there is none.

        Raises
        ------
        KeyError
            There is no such profile.
        """
        return self.profiles[name].read(data, options)

    def stream(self, name: str, options: Options = _NO_OPTIONS) -> FrameStream | LineStream:
        r"""Return a decoder with `feed(data)` and `finish()` for a device's serial stream.

        Parameters
        ----------
        name : of the profile
        options : calibration and the like

        Returns
        -------
        A new decoder.

        Raises
        ------
        KeyError
            There is no such profile.
        ValueError
            The device sends no stream.

        Examples
        --------
        >>> decoder = load_registry().stream("mt_sics")
        >>> [decoder.feed(part) for part in (b"S S     100.00", b" g\r\n")][1][0].fields
        {'stable': True, 'mass_g': 100.0}
        """
        return self.profiles[name].stream(options)

    def encode(self, name: str, fields: Mapping[str, object]) -> bytes:
        r"""Return the bytes that the device would send for these fields.

        Parameters
        ----------
        name : of the profile
        fields : as decoded

        Returns
        -------
        An advert with flags, a frame, a line with its end, or a record.

        Raises
        ------
        KeyError
            There is no such profile.
        ValueError
            The fields cannot be sent by this device, or its profile only decodes.

        Examples
        --------
        >>> load_registry().encode("mt_sics", {"stable": True, "mass_g": 12.5})
        b'S S      12.50 g\r\n'
        """
        return write_message(self.profiles[name], fields)


def packaged_profiles() -> dict[str, str]:
    """Return the texts of the profiles that come with the program, by file name."""
    folder = resources.files("firmware_profiles") / "profiles"
    files = sorted(folder.iterdir(), key=lambda file: file.name)
    return {f.name: f.read_text(encoding="utf-8") for f in files if f.name.endswith(".toml")}


def load_registry(extra: Mapping[str, str] | None = None) -> Registry:
    """Load the profiles of the program, and further ones.

    Parameters
    ----------
    extra : texts by file name; a name or id that exists already replaces the old one

    Returns
    -------
    The profiles that are right, and messages about the others.

    Examples
    --------
    >>> load_registry({"mine.toml": "schema = 'fanous.profile/2'"}).errors[0][:29]
    "mine.toml:1: unknown schema '"
    """
    texts = {**packaged_profiles(), **(extra or {})}
    errors: list[str] = []
    tables: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for file, text in texts.items():
        try:
            table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            errors.append(f"{file}: not valid TOML: {error}")
            continue
        problems = check_form(table)
        if problems:
            errors += [_message(file, text, problem) for problem in problems]
        else:
            tables[table["profile"]["id"]] = (file, table)
    plain: dict[str, Mapping[str, Any]] = {name: table for name, (_, table) in tables.items()}
    profiles: dict[str, Profile] = {}
    for name, (file, checked) in tables.items():
        try:
            profiles[name] = compile_profile(checked, plain)
        except FormError as error:
            errors.append(_message(file, texts[file], error))
        except Exception as error:
            errors.append(f"{file}:1: its parts do not fit together ({error})")
    return _registry(profiles, errors)


def _registry(profiles: Mapping[str, Profile], errors: list[str]) -> Registry:
    by_id: dict[int, list[Entry]] = {}
    by_prefix: dict[int, list[Entry]] = {}
    adverts = [p for p in profiles.values() if p.transport == "ble-adv"]
    for profile in sorted(adverts, key=lambda p: -p.table["match"].get("priority", 0)):
        match = profile.table["match"]
        candidate = candidate_of(profile)
        entry = (candidate.matches, candidate.needs, candidate.read, candidate)
        if "any_company" in match:
            by_prefix.setdefault(int(match["prefix"][:4], 16), []).append(entry)
        elif "company_id" in match:
            by_id.setdefault(MANUFACTURER << 16 | match["company_id"], []).append(entry)
        else:
            by_id.setdefault(SERVICE_DATA16 << 16 | match["service_uuid"], []).append(entry)
    return Registry(
        profiles=MappingProxyType(dict(sorted(profiles.items()))),
        errors=tuple(errors),
        by_id={number: tuple(found) for number, found in by_id.items()},
        by_prefix={number: tuple(found) for number, found in by_prefix.items()},
    )


def _with_context(found: Decoded, candidate: Candidate, data: bytes, begin: int) -> Decoded:
    fields = dict(found.fields)
    if candidate.company_field:
        fields[candidate.company_field] = data[begin - 2] | data[begin - 1] << 8
    if candidate.name_field:
        fields[candidate.name_field] = local_name(data)
    return found._replace(fields=fields)


def _message(file: str, text: str, error: FormError) -> str:
    where: KeyPath = error.path
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where)[1:]
    return f"{file}:{line_of(text, where)}: {key + ': ' if len(where) > 1 else ''}{error}"
