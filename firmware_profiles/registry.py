"""The registry: every profile by name, and adverts matched to profiles.

Rules of the file: profiles are looked up by (kind, id) in one dictionary, so the cost
of an advert does not grow with their number. A profile file that is refused leaves its
message in `Registry.errors`; the others load. Any bytes give a `Decoded` or a
`Rejected`, never an exception.
"""

import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType
from typing import Any, cast

from firmware_profiles.advert import MANUFACTURER, SERVICE_DATA16
from firmware_profiles.compile import Profile, compile_profile
from firmware_profiles.decoded import Decoded, Options, Rejected
from firmware_profiles.form import FormError, KeyPath, check_form, line_of
from firmware_profiles.framers import FrameStream
from firmware_profiles.lines import LineStream
from firmware_profiles.matching import Entry, candidate_of, heads_of
from firmware_profiles.writing import write_message

_NO_OPTIONS: Options = MappingProxyType({})
_MALFORMED = Rejected("malformed-advert")
_UNKNOWN = Rejected("unknown-device")
_NO_MATCH = Rejected("no-match")
_SPEAKERS = frozenset((SERVICE_DATA16, MANUFACTURER))


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """All profiles that loaded, by name, and the messages about those that did not.

    `by_id` has the names of the profiles of a company or service under AD type << 16 |
    number, `by_prefix` those of any company under the first two bytes of their data,
    which begin with one of `first_bytes`; `heads` is `matching.heads_of`.
    """

    profiles: Mapping[str, Profile]
    errors: tuple[str, ...]
    by_id: Mapping[int, tuple[str, ...]]
    by_prefix: Mapping[int, tuple[Entry, ...]]
    heads: Mapping[bytes, tuple[Entry, ...]]
    first_bytes: frozenset[int]

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
        hits: tuple[tuple[tuple[Entry, ...], int, int], ...] = ()
        heads = self.heads
        at, end = 0, len(data)
        while at < end:
            size = data[at]
            if size == 0:
                break
            stop = at + size + 1
            if stop > end:
                return _MALFORMED
            kind = data[at + 1]
            if size > 2 and kind in _SPEAKERS:
                begin = at + 4
                found = heads.get(data[at + 1 : at + 5]) if size > 3 else None
                if found is None:
                    found = heads.get(data[at + 1 : begin])
                if found is not None:
                    hits += ((found, begin, stop),)
                if kind == MANUFACTURER and size > 4 and data[begin] in self.first_bytes:
                    found = self.by_prefix.get(data[begin] << 8 | data[begin + 1])
                    if found is not None:
                        hits += ((found, begin, stop),)
            at = stop
        if not hits:
            return _UNKNOWN
        options = _NO_OPTIONS if key is None else {"address": address, "key": key}
        rejected: Decoded | Rejected = _NO_MATCH
        for entries, begin, stop in hits:
            body, size = data[begin:stop], stop - begin
            for low, high, matches, needs, read_from, add, name in entries:
                if (
                    low <= size <= high
                    and (matches is None or matches(body))
                    and (needs is None or needs(data))
                    and (only is None or only == name)
                ):
                    result = read_from(body, options, address)
                    if type(result) is not Rejected:
                        if add is not None:
                            add(cast("Decoded", result).fields, data, begin)
                        return result
                    rejected = result
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
        return self.by_id.get(kind << 16 | int(number, 16), ())

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

    def without(self, names: Collection[str]) -> "Registry":
        """Return a registry that does not know some profiles.

        Parameters
        ----------
        names : of profiles to leave out; one that is not there is no matter

        Returns
        -------
        A registry of the others, with the same messages.

        Examples
        --------
        >>> load_registry().without(["ibeacon"]).profiles_for("company:004c")
        ('apple_continuity',)
        """
        kept = {name: found for name, found in self.profiles.items() if name not in names}
        return _registry(kept, list(self.errors))


def packaged_profiles() -> dict[str, str]:
    """Return the texts of the profiles that come with the program, by file name."""
    folder = resources.files("firmware_profiles") / "profiles"
    files = sorted(folder.iterdir(), key=lambda file: file.name)
    return {f.name: f.read_text(encoding="utf-8") for f in files if f.name.endswith(".toml")}


def load_registry(extra: Mapping[str, str] | None = None) -> Registry:
    """Load the profiles of the program, and further ones.

    Parameters
    ----------
    extra : texts by file name; the id of a packaged profile replaces that, a packaged
        profile's file name too; what is refused replaces nothing

    Returns
    -------
    The profiles that are right, and messages about the others: file, line, key, expectation.

    Examples
    --------
    >>> load_registry({"mine.toml": "schema = 'fanous.profile/2'"}).errors[0][:29]
    "mine.toml:1: unknown schema '"
    """
    errors: list[str] = []
    packaged = _checked(packaged_profiles(), errors)
    own = _checked(extra or {}, errors)
    tables = {table["profile"]["id"]: table for _, _, table in (*packaged, *reversed(own))}
    profiles: dict[str, Profile] = {}
    taken: dict[str, str] = {}
    for number, (file, text, table) in enumerate((*packaged, *own)):
        name = table["profile"]["id"]
        try:
            if name in taken:
                message = f"'{name}' is taken by {taken[name]}, expected another id"
                raise FormError(("profile", "id"), message)
            profiles[name] = compile_profile(table, tables)
        except FormError as error:
            errors.append(_message(file, text, error))
        except Exception as error:
            errors.append(f"{file}:1: its parts do not fit together ({error})")
        else:
            if number >= len(packaged):
                taken[name] = file
    return _registry(profiles, errors)


def _checked(
    texts: Mapping[str, str], errors: list[str]
) -> list[tuple[str, str, Mapping[str, Any]]]:
    """Return (file, text, tables) of the texts that keep to the form."""
    found: list[tuple[str, str, Mapping[str, Any]]] = []
    for file, text in texts.items():
        try:
            table = tomllib.loads(text)
            problems = check_form(table)
        except tomllib.TOMLDecodeError as error:
            line = re.search(r"\(at line (\d+)", str(error))
            last = text.count("\n") + 1
            errors.append(f"{file}:{line[1] if line else last}: not valid TOML: {error}")
        except RecursionError:
            errors.append(f"{file}:1: not valid TOML: nested too deeply")
        else:
            errors += [_message(file, text, problem) for problem in problems]
            if not problems:
                found.append((file, text, table))
    return found


def _registry(profiles: Mapping[str, Profile], errors: list[str]) -> Registry:
    adverts = [profile for profile in profiles.values() if profile.transport == "ble-adv"]
    adverts.sort(key=lambda profile: -profile.table["match"].get("priority", 0))
    candidates = [candidate_of(profile) for profile in adverts]
    by_id: dict[int, tuple[str, ...]] = {}
    by_prefix: dict[int, tuple[Entry, ...]] = {}
    for one in candidates:
        if one.speaker is None:
            by_prefix[one.begin] = (*by_prefix.get(one.begin, ()), one.entry)
        else:
            by_id[one.speaker] = (*by_id.get(one.speaker, ()), one.id)
    return Registry(
        profiles=MappingProxyType(dict(sorted(profiles.items()))),
        errors=tuple(errors),
        by_id=by_id,
        by_prefix=by_prefix,
        heads=heads_of(candidates),
        first_bytes=frozenset(begin >> 8 for begin in by_prefix),
    )


def _message(file: str, text: str, error: FormError) -> str:
    where: KeyPath = error.path
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where)[1:]
    return f"{file}:{line_of(text, where)}: {key + ': ' if len(where) > 1 else ''}{error}"
