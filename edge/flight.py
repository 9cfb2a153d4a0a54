"""What is out on one connection without the gateway's acknowledgement.

Rules of the file: no clock, no network, no disk. A batch holds a place in the window until it
is acknowledged. One that was sent ahead of older ones would hold it until they are all there,
because acknowledgements are cumulative; it gives its place back when the broker has taken it
and the gateway is heard of again, and is not sent a second time while it only waits for its
turn: of each boot and kind only the lowest number can be missing at the gateway, so only that
one has a time-out (as TCP resends its first unacknowledged segment, RFC 6298, section 5).
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field

from edge.outbox import StoredBatch
from ingest.batch import Kind

Stream = tuple[str, str]
"""Boot and kind."""
RESEND_MAX_S = 600.0


@dataclass(slots=True, kw_only=True, eq=False)
class Sent:
    """A batch that is out.

    `tries` counts how often it was sent, `missed` how often the gateway was heard of after
    that and did not have it; `is_fresh`: no earlier connection carried it.
    """

    id: int
    boot: str
    kind: Kind
    seq: int
    size: int
    sent_s: float
    is_ahead: bool
    is_fresh: bool
    is_taken: bool = False
    holds: bool = True
    tries: int = 1
    missed: int = 0


@dataclass(slots=True, kw_only=True)
class _Line:
    """One stream: its batches as a heap of (seq, id), and its time-out [s]."""

    timeout_s: float
    heap: list[tuple[int, int]] = field(default_factory=list)


class Flight:
    """All of them, for one connection.

    Parameters
    ----------
    timeout_s : [s] after which the lowest of a stream is sent again; doubled each time
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._entries: dict[int, Sent] = {}
        self._lines: dict[Stream, _Line] = {}
        self._by_mid: dict[int, int] = {}
        self._taken_ahead: list[int] = []
        self.held = self.held_bytes = self.ahead = self.ahead_bytes = self.taps_ahead = 0
        self.heard_s = float("-inf")

    def __contains__(self, number: int) -> bool:
        """Tell whether a batch is out."""
        return number in self._entries

    def __len__(self) -> int:
        """Return how many are out."""
        return len(self._entries)

    @property
    def untaken(self) -> list[Sent]:
        """What the broker has not taken, in the order of sending."""
        return [self._entries[number] for number in self._by_mid.values() if number in self]

    def add(
        self, batch: StoredBatch, mid: int, now_s: float, *, is_ahead: bool, is_fresh: bool
    ) -> None:
        """Note that a batch was sent.

        Parameters
        ----------
        batch : as it was read
        mid : of its packet
        now_s : [s] now
        is_ahead : older ones are not yet sent
        is_fresh : no earlier connection carried it
        """
        self._by_mid[mid] = batch.id
        known = self._entries.get(batch.id)
        if known is not None:
            known.sent_s, known.tries, known.is_taken = now_s, known.tries + 1, False
            return
        sent = self._entries[batch.id] = Sent(
            id=batch.id,
            boot=batch.boot,
            kind=batch.kind,
            seq=batch.seq,
            size=len(batch.payload),
            sent_s=now_s,
            is_ahead=is_ahead,
            is_fresh=is_fresh,
        )
        line = self._lines.setdefault((sent.boot, sent.kind), _Line(timeout_s=self._timeout_s))
        heapq.heappush(line.heap, (sent.seq, sent.id))
        self._count(sent, 1)

    def taken(self, mid: int) -> Sent | None:
        """Note that the broker has taken a packet.

        Parameters
        ----------
        mid : of the packet

        Returns
        -------
        sent : its batch, None when it is none of ours or acknowledged already
        """
        sent = self._entries.get(self._by_mid.pop(mid, -1))
        if sent is not None:
            sent.is_taken = True
            if sent.is_ahead and sent.holds:
                self._taken_ahead.append(sent.id)
        return sent

    def acknowledge(self, boot: str, kind: str, seq: int, now_s: float) -> list[Sent]:
        """Take out what the gateway has, and give back the places of what only waits.

        Parameters
        ----------
        boot : of the batches
        kind : of the batches
        seq : everything up to it is there
        now_s : [s] now

        Returns
        -------
        done : in the order of their seqs
        """
        self.heard_s = now_s
        for number in self._taken_ahead:
            waiting = self._entries.get(number)
            if waiting is not None and waiting.holds:
                self._count(waiting, -1)
                waiting.holds = False
        self._taken_ahead.clear()
        line = self._lines.get((boot, kind))
        if line is None:
            return []
        done: list[Sent] = []
        while line.heap and line.heap[0][0] <= seq:
            done.append(self._drop(heapq.heappop(line.heap)[1]))
        if done:
            line.timeout_s = self._timeout_s
        if not line.heap:
            del self._lines[boot, kind]
        return done

    def overdue(self, now_s: float) -> list[Sent]:
        """Return what must be sent again now, and double its time-out.

        Parameters
        ----------
        now_s : [s] now
        """
        found = []
        for head, line in self._heads():
            if now_s - head.sent_s >= line.timeout_s:
                line.timeout_s = min(2 * line.timeout_s, RESEND_MAX_S)
                head.missed += self.heard_s > head.sent_s
                found.append(head)
        return found

    def due_s(self) -> float:
        """Return when something is next overdue [s]; infinity when nothing is out."""
        return min((s.sent_s + line.timeout_s for s, line in self._heads()), default=float("inf"))

    def forget(self, sent: Sent) -> None:
        """Take a batch out that is not in the outbox any more.

        Parameters
        ----------
        sent : any
        """
        line = self._lines[sent.boot, sent.kind]
        line.heap.remove((sent.seq, sent.id))
        heapq.heapify(line.heap)
        if not line.heap:
            del self._lines[sent.boot, sent.kind]
        self._drop(sent.id)

    def _heads(self) -> Iterator[tuple[Sent, _Line]]:
        for line in self._lines.values():
            yield self._entries[line.heap[0][1]], line

    def _drop(self, number: int) -> Sent:
        sent = self._entries.pop(number)
        if sent.holds:
            self._count(sent, -1)
        return sent

    def _count(self, sent: Sent, sign: int) -> None:
        if not sent.is_ahead:
            self.held += sign
            self.held_bytes += sign * sent.size
        elif sent.kind == "tap":
            self.taps_ahead += sign
        else:
            self.ahead += sign
            self.ahead_bytes += sign * sent.size
