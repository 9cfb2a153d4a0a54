"""Frames in a stream of bytes: start, length, checksums, end, and finding them again.

Rules of the file: a decision about the frame that might begin at a position depends
only on the bytes from there on, so that it does not matter how the stream was cut into
pieces. What is not a frame is dropped one byte at a time; a run of noise is one
rejection. The buffer never holds more than one frame of `max_length`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from firmware_profiles.checksums import CHECKSUM_SIZES, CHECKSUMS
from firmware_profiles.decoded import Decoded, Rejected
from firmware_profiles.form import FormError, KeyPath

MORE, NO, OK = 0, 1, 2
Verdict = tuple[int, int, Any]
"""(MORE, 0, None), (NO, 0, reason) or (OK, size, content); a dict as content is ready-made."""
Read = Callable[[bytes | Mapping[str, Any]], Decoded | Rejected]


class FrameForm:
    """One compiled `[[frame]]`: judges whether a window begins with such a frame."""

    def __init__(self, table: Mapping[str, Any], path: KeyPath) -> None:
        self.start = bytes.fromhex(table.get("start", ""))
        self.end = bytes.fromhex(table.get("end", ""))
        self.length = table.get("length")
        self.length_at = table.get("length_at")
        self.length_size = table.get("length_size", 1)
        self.length_endian = table.get("length_endian", "little")
        self.length_add = table.get("length_add", 0)
        self.max_length = table.get("max_length", self.length or 64)
        self.is_hex = table.get("encoding") == "ascii-hex"
        self.checks = [(c["kind"], tuple(c["over"]), c["at"]) for c in table.get("checksum", [])]
        self.requires = [(r["at"], frozenset(r["values"])) for r in table.get("require", [])]
        self.specials = [(bytes.fromhex(s["bytes"]), s["set"]) for s in table.get("special", [])]
        self.tail = max([len(self.end), *(-at for _, _, at in self.checks if at < 0)])
        if (self.length is None) == (self.length_at is None):
            raise FormError(path, "expected either 'length' or 'length_at'")
        if not 1 <= self.max_length <= 4096:
            raise FormError((*path, "max_length"), f"expected 1 to 4096, got {self.max_length}")
        if any(len(over) != 2 for _, over, _ in self.checks):
            raise FormError((*path, "checksum"), "expected 'over' as [from, to]")

    def judge(self, window: bytes) -> Verdict:
        """Judge whether a window of the stream begins with a frame of this form."""
        size = len(window)
        if not window.startswith(self.start[:size]):
            return NO, 0, "noise"
        for special, constants in self.specials:
            if window.startswith(special):
                return OK, len(special), constants
            if special.startswith(window):
                return MORE, 0, None
        if size < len(self.start):
            return MORE, 0, None
        for at, values in self.requires:
            if at >= size:
                return MORE, 0, None
            if window[at] not in values:
                return NO, 0, "noise"
        total = self._total(window)
        if total is None:
            return MORE, 0, None
        if not len(self.start) + len(self.end) < total <= self.max_length:
            return NO, 0, "bad-length"
        if not self.is_hex and not all(
            self._is_right(window, check) for check in self.checks if self._is_early(check, size)
        ):
            return NO, 0, "bad-checksum"
        if size < total:
            return MORE, 0, None
        return self._content(window[:total])

    def _total(self, window: bytes) -> int | None:
        if self.length_at is None:
            length: int | None = self.length
            return length
        field = window[self.length_at : self.length_at + self.length_size]
        if len(field) < self.length_size:
            return None
        return int.from_bytes(field, self.length_endian) + int(self.length_add)

    def _is_early(self, check: tuple[str, tuple[int, ...], int], size: int) -> bool:
        kind, (_, to), at = check
        return to >= 0 and at >= 0 and size >= max(to, at + CHECKSUM_SIZES[kind])

    def _content(self, frame: bytes) -> Verdict:
        if not frame.endswith(self.end):
            return NO, 0, "bad-frame"
        content = frame
        if self.is_hex:
            try:
                text = frame[len(self.start) : len(frame) - len(self.end)].decode("ascii")
                content = bytes.fromhex(text)
            except ValueError:
                return NO, 0, "bad-frame"
            if len(content) * 2 != len(text):
                return NO, 0, "bad-frame"
        if not all(self._is_right(content, check) for check in self.checks):
            return NO, 0, "bad-checksum"
        return OK, len(frame), content

    def _is_right(self, content: bytes, check: tuple[str, tuple[int, ...], int]) -> bool:
        kind, (begin, to), at = check
        stop = at + CHECKSUM_SIZES[kind]
        found = content[at : stop or None]
        return found == CHECKSUMS[kind](content[begin:to])

    def build(self, body: bytes) -> bytes:
        """Build a frame round a body (for `raw`, the body begins with the start bytes).

        Parameters
        ----------
        body : what the layout wrote

        Returns
        -------
        The frame with lengths, checksums and end.

        Raises
        ------
        ValueError
            The body is longer than the frame.
        """
        if self.is_hex:
            content = bytearray(body)
            for kind, (begin, to), at in self.checks:
                content[at : at + CHECKSUM_SIZES[kind]] = CHECKSUMS[kind](bytes(content[begin:to]))
            return self.start + content.hex().upper().encode() + self.end
        ahead = [at + CHECKSUM_SIZES[kind] for kind, _, at in self.checks if at >= 0]
        total = self.length or max(len(body), *ahead, 0) + self.tail
        if len(body) > total:
            raise ValueError(f"a frame of {total} bytes cannot hold {len(body)}")
        frame = bytearray(body.ljust(total, b"\0"))
        frame[: len(self.start)] = self.start
        for at, values in self.requires:
            if len(values) == 1:
                frame[at] = next(iter(values))
        if self.end:
            frame[-len(self.end) :] = self.end
        if self.length_at is not None:
            length = (total - self.length_add).to_bytes(self.length_size, self.length_endian)
            frame[self.length_at : self.length_at + self.length_size] = length
        for kind, (begin, to), at in self.checks:
            stop = at + CHECKSUM_SIZES[kind]
            frame[at : stop or None] = CHECKSUMS[kind](bytes(frame[begin:to]))
        return bytes(frame)


class FrameStream:
    """Decodes frames from a stream, whatever the pieces it comes in.

    Parameters
    ----------
    forms : the frames to look for, the first that fits wins
    read : turns a frame's content into a measurement
    """

    def __init__(self, forms: list[FrameForm], read: Read) -> None:
        self._forms = forms
        self._read = read
        self._window = max(form.max_length for form in forms)
        self._firsts = bytes({form.start[0] for form in forms if form.start})
        self._looks_ahead = all(form.start for form in forms)
        self._buffer = bytearray()
        self._noise = False
        self._quiet = False

    def feed(self, data: bytes) -> list[Decoded | Rejected]:
        """Take bytes as they come and return what they complete."""
        self._buffer += data
        return self._drain(final=False)

    def finish(self) -> list[Decoded | Rejected]:
        """Take the end of the stream: a frame that was begun is rejected as truncated."""
        out = self._drain(final=True)
        if self._noise:
            out.append(Rejected("noise"))
        self._noise = self._quiet = False
        return out

    def _drain(self, *, final: bool) -> list[Decoded | Rejected]:
        out: list[Decoded | Rejected] = []
        buffer, at = self._buffer, 0
        while at < len(buffer):
            if self._looks_ahead and buffer[at] not in self._firsts:
                self._noise = self._noise or not self._quiet
                at += 1
                continue
            state, size, found = self._judge(bytes(buffer[at : at + self._window]), final=final)
            if state == MORE:
                break
            if state == OK:
                self._flush(out)
                self._quiet = False
                out.append(self._read(found))
                at += size
                continue
            if found != "noise":
                self._flush(out)
                out.append(Rejected(found))
                self._quiet = True
            elif not self._quiet:
                self._noise = True
            at += 1
        del buffer[:at]
        return out

    def _judge(self, window: bytes, *, final: bool) -> Verdict:
        reason = "noise"
        for form in self._forms:
            verdict = form.judge(window[: form.max_length])
            if verdict[0] == OK or (verdict[0] == MORE and not final):
                return verdict
            if reason == "noise":
                reason = "truncated" if verdict[0] == MORE else verdict[2]
        return NO, 0, reason

    def _flush(self, out: list[Decoded | Rejected]) -> None:
        if self._noise:
            out.append(Rejected("noise"))
        self._noise = False
