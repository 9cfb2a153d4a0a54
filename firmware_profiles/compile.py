"""Compiling a profile: checked tables in, one `Profile` with its functions out.

Rules of the file: everything that can be wrong with a profile is found here or in the
form, never when bytes arrive. A profile may `use` another's layout (a vendor's device
that speaks BTHome) and has then its own match, tests and name.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from firmware_profiles.bit_frames import BitForms
from firmware_profiles.calibration import compile_calibration
from firmware_profiles.crypto import SCHEMES
from firmware_profiles.decoded import Decoded, Fields, Fill, Options, Refused, Rejected
from firmware_profiles.decoders import DECODERS, load_decoder
from firmware_profiles.emit_runs import compile_emit_runs
from firmware_profiles.field_checks import PLACE_MOST, check_values
from firmware_profiles.fields import condition_of
from firmware_profiles.form import FormError, nearest
from firmware_profiles.framers import FrameForm, FrameStream
from firmware_profiles.layout import compile_layout
from firmware_profiles.lines import LINE_LENGTH_DEFAULT, LINE_LENGTH_MAX, LineStream, compile_lines

Body = Callable[[bytes, Options], Fields]
ReadFrom = Callable[[bytes, Options, str | None], Decoded | Rejected]
_BROKEN = (ArithmeticError, LookupError, TypeError, ValueError, struct.error, MemoryError)
"""What only a stranger's profile can raise: ours are tested with any bytes."""
_new = tuple.__new__
"""Makes a named tuple in 0.14 instead of 0.22 microseconds, for each advert."""
_SHARED = ("layout", "field", "switch", "variant", "repeat", "crypto", "dedupe", "emit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One compiled device profile.

    `device` is the name in results (the family's, if it has one); `read_from` decodes one
    whole message, service data, a frame's content, a line or a record, of the sender with
    an address, if that may be its tag.
    """

    id: str
    device: str
    title: str
    vendor: str
    version: int
    transport: str
    privacy: str
    table: Mapping[str, Any]
    read_from: ReadFrom
    frames: tuple[FrameForm, ...] = ()
    line_length_max: int = 0
    bits: BitForms | None = None

    @property
    def is_stream(self) -> bool:
        """Whether the device sends a stream of frames or lines."""
        return bool(self.frames or self.line_length_max)

    @property
    def dedupe(self) -> Mapping[str, Any]:
        """The `[dedupe]` of the profile, empty if it has none."""
        found: Mapping[str, Any] = self.table.get("dedupe", {})
        return found

    def read(self, body: bytes, options: Options) -> Decoded | Rejected:
        """Decode one whole message.

        Parameters
        ----------
        body : service data, a frame's content, a line, a record
        options : `address`, `key`, calibration and the like

        Returns
        -------
        The measurement, or why there is none.
        """
        return self.read_from(body, options, options.get("address"))

    def stream(self, options: Options) -> FrameStream | LineStream:
        """Return a new decoder for the device's stream.

        Parameters
        ----------
        options : calibration and the like

        Returns
        -------
        A decoder with `feed` and `finish`.

        Raises
        ------
        ValueError
            The device sends no stream.
        """
        if self.frames:
            return FrameStream(list(self.frames), lambda content: self._frame(content, options))
        if self.line_length_max:
            return LineStream(lambda line: self.read(line, options), self.line_length_max)
        raise ValueError(f"profile '{self.id}' has transport {self.transport}, which is no stream")

    def _frame(self, content: bytes | Mapping[str, Any], options: Options) -> Decoded | Rejected:
        if isinstance(content, bytes):
            return self.read(content, options)
        return Decoded(self.device, dict(content))


def compile_profile(table: Mapping[str, Any], used: Mapping[str, Mapping[str, Any]]) -> Profile:
    """Compile a checked profile.

    Parameters
    ----------
    table : the tables of the file, checked by `form.check_form`
    used : the tables of every profile by id, for `uses`

    Returns
    -------
    The profile with its functions.

    Raises
    ------
    FormError
        Its parts do not fit together.
    """
    head = table["profile"]
    if "uses" in head:
        other = used.get(head["uses"])
        if other is None:
            hint = nearest(head["uses"], list(used))
            raise FormError(("profile", "uses"), f"no profile '{head['uses']}'{hint}")
        table = {**{key: other[key] for key in _SHARED if key in other}, **table}
    check_values(table)
    _check_transport(table)
    bits = BitForms(table["bits"], ("bits",)) if "bits" in table else None
    device = head.get("family", head["id"])
    return Profile(
        id=head["id"],
        device=device,
        title=head["title"],
        vendor=head["vendor"],
        version=head["version"],
        transport=head["transport"],
        privacy=head["privacy"],
        table=table,
        read_from=_compile_read(device, table, _compile_body(table, bits)),
        frames=tuple(
            FrameForm(frame, ("frame", index)) for index, frame in enumerate(table.get("frame", []))
        ),
        line_length_max=_line_length(table),
        bits=bits,
    )


def layout_of(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the layout at the top of a profile: `[layout]` with the parts beside it."""
    parts = ("field", "switch", "variant", "repeat")
    return {**table.get("layout", {}), **{key: table[key] for key in parts if key in table}}


def _check_transport(table: Mapping[str, Any]) -> None:
    transport = table["profile"]["transport"]
    needs = {"ble-adv": "match", "serial-binary": "frame", "serial-line": "line", "bits": "bits"}
    for kind, section in needs.items():
        if (transport == kind) != (section in table):
            is_one = transport == kind
            message = f"transport {transport} {'needs' if is_one else 'has no'} [{section}]"
            raise FormError(("profile", "transport") if is_one else (section,), message)
    if "match" in table:
        _check_match(table["match"])


def _check_match(match: Mapping[str, Any]) -> None:
    if sum(key in match for key in ("company_id", "any_company", "service_uuid")) != 1:
        raise FormError(("match",), "expected one of company_id, any_company, service_uuid")
    for key in ("company_id", "service_uuid", "service_list"):
        if not 0 <= match.get(key, 0) <= 0xFFFF:
            raise FormError(("match", key), f"expected 0 to 0xFFFF, got {match[key]}")
    if "any_company" in match and len(match.get("prefix", "")) < 4:
        raise FormError(("match", "prefix"), "any_company needs a prefix of two bytes or more")
    if len(match.get("mask", "")) not in (0, len(match.get("prefix", ""))):
        raise FormError(("match", "mask"), "expected as many digits as in prefix")


def _line_length(table: Mapping[str, Any]) -> int:
    if "line" not in table:
        return 0
    length: int = table["line"].get("max_length", LINE_LENGTH_DEFAULT)
    if not 1 <= length <= LINE_LENGTH_MAX:
        raise FormError(("line", "max_length"), f"expected 1 to {LINE_LENGTH_MAX}, got {length}")
    return length


def _compile_body(table: Mapping[str, Any], bits: BitForms | None) -> Body:
    name = table["profile"].get("decoder")
    if name is not None:
        if name not in DECODERS:
            message = f"no decoder '{name}'{nearest(name, list(DECODERS))}"
            raise FormError(("profile", "decoder"), message)
        return load_decoder(name)
    if bits is not None:
        return bits.read
    if "line" in table:
        read_line = compile_lines(table["line"], ("line",))
        return lambda body, _options: read_line(body)
    return _sealed_body(table, compile_layout(layout_of(table), most=_bytes_most(table)))


def _bytes_most(table: Mapping[str, Any]) -> int:
    """Return how many bytes a message may have at most, as match or frames say it."""
    match = table.get("match", {})
    if "length" in match or "max_length" in match:
        return int(match.get("length", match.get("max_length")))
    frames = [frame.get("length", frame.get("max_length", 64)) for frame in table.get("frame", [])]
    return max(frames, default=PLACE_MOST)


def _sealed_body(table: Mapping[str, Any], fill: Fill) -> Body:
    """Return a function that opens a body, where `[crypto]` says so, and reads its fields."""
    if "crypto" not in table:

        def read_plain(body: bytes, _options: Options) -> Fields:
            fields: Fields = {}
            fill(body, fields)
            return fields

        return read_plain
    unseal = SCHEMES.get(table["crypto"]["scheme"])
    if unseal is None or "when" not in table["crypto"]:
        message = f"scheme '{table['crypto']['scheme']}' needs {'when' if unseal else 'a decoder'}"
        raise FormError(("crypto", "scheme"), message)
    where, mask, wanted = condition_of(table["crypto"]["when"], ("crypto", "when"))

    def read_sealed(body: bytes, options: Options) -> Fields:
        fields: Fields = {}
        if where < len(body) and body[where] & mask == wanted:
            body = unseal(body, options, fields)
        fill(body, fields)
        return fields

    return read_sealed


def _compile_read(device: str, table: Mapping[str, Any], body_of: Body) -> ReadFrom:
    make_emits = compile_emit_runs(table.get("emit", []), ("emit",))
    calibrate = compile_calibration(table["calibration"]) if "calibration" in table else None
    hidden = _has_hidden(table)

    def read_from(body: bytes, options: Options, address: str | None) -> Decoded | Rejected:
        try:
            fields = body_of(body, options)
            if calibrate is not None:
                calibrate(fields, options)
            emits = make_emits(fields, address)
        except Refused as refused:
            return Rejected(refused.reason)
        except _BROKEN:
            return Rejected("broken-profile")
        if hidden:
            fields = {name: value for name, value in fields.items() if name[0] != "_"}
        return _new(Decoded, (device, fields, emits[0][1] if emits else None, emits))

    return read_from


def _has_hidden(table: object) -> bool:
    if isinstance(table, Mapping):
        name = table.get("name")
        if isinstance(name, str) and name.startswith("_"):
            return True
        return "decoder" in table or any(_has_hidden(inner) for inner in table.values())
    return isinstance(table, list) and any(_has_hidden(inner) for inner in table)
