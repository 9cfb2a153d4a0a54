"""A journal and its archive, for tests."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gateway.archive import Archive
from gateway.journal import Entry, Journal
from gateway.settings import ArchiveSettings
from ingest.batch import Batch, Columns, encode_batch
from ingest.columns import decode_batch
from tests.gateway.day import SECOND

HOUR = 3600 * SECOND
MIDNIGHT = 1_764_028_800 * SECOND  # 2025-11-25 00:00:00 UTC
ANNA, BEN = "p_abcdefghijklmnop", "p_qrstuvwxyz234567"


class Rig:
    """A journal and its archive; `open` stands for a restart."""

    def __init__(self, directory, **settings):
        self.directory = Path(directory)
        self.settings = ArchiveSettings(**settings)
        self.now_s, self.seq = 0.0, 0
        self.journal = Journal(self.directory / "journal.sqlite", max_bytes=1 << 20)
        self.open()

    def open(self, clock="wall"):
        self.archive = Archive(
            self.journal,
            decode_batch,
            self.directory / "archive",
            "demo",
            self.settings,
            clock=clock,
            monotonic_s=lambda: self.now_s,
        )

    def feed(self, kind, received_ns=MIDNIGHT, **columns):
        self.seq += 1
        payload = encode_batch(
            Batch(
                store="demo",
                agent="pi-1",
                boot="b",
                kind=kind,
                seq=self.seq,
                sent_ns=received_ns,
                columns=Columns(**columns),
            )
        )
        return self.journal.append([entry_of(decode_batch(payload), payload, received_ns)]).ids[0]

    def readings(self, *t_ns, received_ns=MIDNIGHT):
        return self.feed(
            "ble",
            received_ns,
            t_ns=list(t_ns),
            receiver=["rx-1"] * len(t_ns),
            tag=[ANNA] * len(t_ns),
            rssi_dbm=[-61.5] * len(t_ns),
        )

    def run(self, now_ns=MIDNIGHT, *, write_out=False, up_to_id=None):
        last = self.journal.last_id() if up_to_id is None else up_to_id
        return self.archive.run_once(now_ns, last, write_out=write_out)

    def names(self):
        place = self.directory / "archive" / "demo"
        return sorted(str(path.relative_to(place)) for path in place.glob("*/*"))

    def rows(self, stem="readings"):
        place = self.directory / "archive" / "demo"
        rows = []
        for path in sorted(place.glob(f"*/{stem}-*")):
            table = pq.read_table(path)
            at = table.column_names.index("time")
            as_ns = table["time"].cast(pa.int64())
            rows += table.set_column(at, "time", as_ns).to_pylist()
        return rows


def entry_of(batch, payload, received_ns):
    return Entry(
        agent=batch.agent,
        boot=batch.boot,
        kind=batch.kind,
        seq=batch.seq,
        received_ns=received_ns,
        row_count=batch.rows,
        payload=payload,
        first_ns=int(batch.t_ns.min()) if batch.rows else 0,
    )
