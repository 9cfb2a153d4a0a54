"""Taps at a tap point where people pay count only with a proof that is believed."""

import dataclasses

import numpy as np
import pytest

from analytics.store import TapPoint
from firmware_profiles.crypto import PROOFS as VERIFIED
from ingest.batch import BatchError, Columns, encode_batch
from ingest.columns import decode_batch
from ingest.files import write_columns
from ingest.identifiers import pseudonym
from ingest.measurements import Dropped, Names, read_readings, read_taps
from ingest.proofs import PROOFS, UNPROVEN, payment_points, without_unproven
from tests.ingest.small_store import small_store
from tests.ingest.test_batch import ble_batch

ANNA, BEN = "p_abcdefghijklmnop", "p_qrstuvwxyz234567"
SUN = "ntag424-sun"
PAY = frozenset({"pay-1"})
ROWS = [(1, "pay-1", ANNA), (2, "gate", BEN), (3, "pay-1", BEN), (4, "pay-1", ANNA)]
KEY = b"0123456789abcdef"


def taps(proof=None, rows=ROWS, *, as_json=False):
    t_ns, tap_point, tag = map(list, zip(*rows, strict=True))
    columns = Columns(t_ns=t_ns, tap_point=tap_point, tag=tag, proof=proof)
    return encode_batch(ble_batch(kind="tap", columns=columns), as_json=as_json)


def rows_of(batch):
    points = [batch.tap_point.values[code] for code in batch.tap_point.codes]
    tags = [batch.tag.values[code] for code in batch.tag.codes]
    return list(zip(batch.t_ns.tolist(), points, tags, strict=True))


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(
    ("proof", "kept"),
    [
        (None, [2]),
        (["", "", "", ""], [2]),
        ([SUN, "", "", SUN], [1, 2, 4]),
        (["", SUN, "", ""], [2]),
        ([SUN] * 4, [1, 2, 3, 4]),
        (["sworn", "", SUN, "other"], [2, 3]),
    ],
)
def test_taps_without_a_proof_go(proof, kept, as_json):
    batch = without_unproven(decode_batch(taps(proof, as_json=as_json)), PAY)
    assert rows_of(batch) == [row for row in ROWS if row[0] in kept]
    assert batch.rows == len(kept)
    if proof is not None:
        left = [batch.proof.values[code] for code in batch.proof.codes]
        assert left == [proof[row - 1] for row in kept]


def test_nothing_is_touched_where_nobody_pays():
    for payload in (taps(), taps([SUN, "", "", ""]), encode_batch(ble_batch())):
        batch = decode_batch(payload)
        assert without_unproven(batch, frozenset({"till-9"})) is batch
        assert without_unproven(batch, frozenset()) is batch
    proven = decode_batch(taps([SUN] * 4))
    assert without_unproven(proven, PAY) is proven


@pytest.mark.parametrize("proof", ["A", "two words", "x" * 65, "p/q"])
def test_a_proof_is_a_name(proof):
    with pytest.raises(BatchError) as caught:
        decode_batch(taps(["", "", "", proof]))
    assert caught.value.reason == "name"


def test_only_taps_have_a_proof_and_for_each_row():
    with pytest.raises(BatchError) as caught:
        decode_batch(encode_batch(ble_batch(columns=Columns(t_ns=[1], proof=[SUN]))))
    assert caught.value.reason == "columns"
    with pytest.raises(BatchError) as caught:
        decode_batch(taps([SUN]))
    assert caught.value.reason == "length"


def test_what_is_believed_is_what_is_verified():
    assert PROOFS == set(VERIFIED)


@pytest.fixture
def store(tmp_path):
    found = small_store(tmp_path)
    point = TapPoint(id="pay-1", zone="left", role="payment")
    return dataclasses.replace(found, tap_points=(*found.tap_points, point))


def test_payment_points_are_those_of_that_role(store):
    assert payment_points(store) == PAY


@pytest.mark.parametrize("extension", ["csv", "csv.gz", "jsonl", "parquet"])
def test_a_taps_file_has_proofs_in_a_column(tmp_path, store, extension):
    path = tmp_path / f"taps.{extension}"
    rows = [*ROWS, (5, "pay-1", ANNA), (6, "nowhere", ANNA)]
    t_ns, tap_point, tag = map(list, zip(*rows, strict=True))
    proof = [SUN, "", "", "sworn", None, ""]
    columns = {"t_ns": np.array(t_ns), "tap_point": tap_point, "tag": tag, "proof": proof}
    write_columns(path, columns)
    dropped = Dropped()
    found, point, _ = read_taps(path, store, Names(key=KEY), dropped)
    assert (found.tolist(), point.tolist()) == ([1, 2], [1, 0])
    assert dropped.reasons == {UNPROVEN: 3, "unknown tap point 'nowhere'": 1}


def test_a_taps_file_without_the_column_proves_nothing(tmp_path, store):
    path = tmp_path / "taps.csv"
    path.write_text(f"t_ns,tap_point,tag\n1,pay-1,{ANNA}\n2,gate,{ANNA}\n")
    dropped = Dropped()
    found, _, _ = read_taps(path, store, Names(key=KEY), dropped)
    assert found.tolist() == [2]
    assert dropped.reasons == {"unproven": 1}


def test_a_random_uid_in_a_file_is_nobody(tmp_path, store):
    taps_file, readings_file = tmp_path / "taps.csv", tmp_path / "readings.csv"
    taps_file.write_text("t_ns,tap_point,tag\n1,gate,nfc:08a1b2c3\n2,gate,nfc:04a1b2c3\n")
    readings_file.write_text("t_ns,receiver,tag,rssi_dbm\n1,rx-1,nfc:08a1b2c3,-60\n")
    names, dropped = Names(key=KEY), Dropped()
    found, _, _ = read_taps(taps_file, store, names, dropped)
    t_ns, *_ = read_readings([readings_file], store, names, dropped)
    assert (found.tolist(), t_ns.tolist()) == ([2], [])
    assert names.values == [pseudonym("nfc:04a1b2c3", KEY)]
    assert dropped.reasons == {"not a tag or pseudonym": 2}
