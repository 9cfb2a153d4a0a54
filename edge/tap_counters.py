"""The counters of cards that prove themselves, remembered over restarts and power cuts.

Rules of the file: a message counts once. Its counter is on the disk before anybody is told
that it was new, so whatever happens in between costs a tap and never lets one through twice;
if the disk refuses, nothing is new. One row for each card whose code was verified, so a
stranger cannot make it grow. A card stands in it by a digest under its own key, never by its
UID. Blocking: called from a thread. Source for durability: SQLite, WAL with synchronous=FULL.
"""

import hashlib
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

from ingest.config import ConfigError

COUNTER_MAX = (1 << 24) - 1
"""SDMReadCtr has 24 bits; a card that reached the last is used up."""
CARD_BYTES = 16
_CACHE_KIB = 256
_BUSY_S = 1.0
_TABLE = "CREATE TABLE IF NOT EXISTS counter (card BLOB PRIMARY KEY, last INTEGER) WITHOUT ROWID"
_RAISE = """INSERT INTO counter VALUES (?, ?) ON CONFLICT (card)
DO UPDATE SET last = excluded.last WHERE excluded.last > last"""


def card_digest(uid: bytes, key: bytes) -> bytes:
    """Return what stands for a card.

    Parameters
    ----------
    uid : of the card
    key : under which its messages are verified; another key begins anew, as its old messages
        are not authentic any more

    Returns
    -------
    digest : 16 bytes, keyed BLAKE2b (RFC 7693)
    """
    return hashlib.blake2b(uid, digest_size=CARD_BYTES, key=key, person=b"fanous.taps").digest()


class TapCounters:
    """The memory, in one file; it is opened when it is first asked.

    Parameters
    ----------
    path : of the file; its folder is made
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._base: sqlite3.Connection | None = None
        self._lock = threading.Lock()

    def admit(self, claims: Sequence[tuple[bytes, int]]) -> list[bool]:
        """Tell which messages are new, and remember them on the disk.

        Parameters
        ----------
        claims : digest of the card and counter of each message, in the order they came

        Returns
        -------
        new : for each, whether its counter is above all before it

        Raises
        ------
        sqlite3.Error
            The disk refused; nothing is remembered, and nothing may be taken as new.
        OSError
            The folder cannot be made.
        """
        with self._lock:
            base = self._opened()
            try:
                base.execute("BEGIN IMMEDIATE")
                new = [
                    len(card) == CARD_BYTES
                    and 0 <= counter <= COUNTER_MAX
                    and base.execute(_RAISE, (card, counter)).rowcount == 1
                    for card, counter in claims
                ]
                base.execute("COMMIT")
            except BaseException:
                self._close()  # what was not committed is undone
                raise
            return new

    def close(self) -> None:
        """Close the file, after who is at it; it is opened again when it is asked again."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._base is not None:
            self._base.close()
            self._base = None

    def _opened(self) -> sqlite3.Connection:
        if self._base is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Calls come from a pool of threads, one at a time by the lock.
            base = sqlite3.connect(
                self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
            try:
                base.execute("PRAGMA journal_mode = WAL")
                base.execute("PRAGMA synchronous = FULL")
                base.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
                base.execute(_TABLE)
            except BaseException:
                base.close()
                raise
            self._base = base
        return self._base


def check_counters(path: Path) -> None:
    """Refuse a file that is there and cannot be the memory.

    Parameters
    ----------
    path : of the file; it need not be there yet

    Raises
    ------
    ConfigError
        It is damaged, of another kind, or not readable.
    """
    if not path.exists():
        return
    try:
        base = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=_BUSY_S)
        try:
            sound = base.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
            base.execute("SELECT card, last FROM counter LIMIT 1").fetchall()
        finally:
            base.close()
    except sqlite3.Error as error:
        raise ConfigError(_damaged(path, str(error))) from error
    if not sound:
        raise ConfigError(_damaged(path, "its pages do not fit together"))


def _damaged(path: Path, why: str) -> str:
    return (
        f"counters_file {path}: expected the counters of cards, found something else ({why}); "
        "move it away only if the cards get new keys: without it old messages count again"
    )
