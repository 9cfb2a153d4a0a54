import numpy as np
import pytest

from ingest.tag_table import TagTable
from tests.ingest.test_packed_tags import packed

NONE = np.empty(0, np.int32)


def tags(count, prefix="name:band"):
    return [f"{prefix}-{i}" for i in range(count)]


@pytest.mark.parametrize("as_bytes", [False, True])
def test_ids_count_in_order_of_first_appearance(as_bytes):
    table = TagTable(16)
    values = ["name:b", "name:a", "name:b", "name:c"]
    given = np.array(values, "S64") if as_bytes else values
    assert table.ids(given, 1).tolist() == [0, 1, 0, 2]
    assert table.ids(["name:c", "name:a", "name:b"], 1).tolist() == [2, 1, 0]
    assert table.names(np.array([0, 2])) == ["name:b", "name:c"]
    assert len(table) == 3


def test_texts_and_bytes_give_the_same_ids():
    texts, table = tags(1000), TagTable(1000)
    first = table.ids(np.array(texts[::2], "S64"), 1)
    assert first.tolist() == table.ids(texts[::2], 1).tolist()
    assert list(range(1000)) == sorted(table.ids(texts, 1).tolist())
    assert texts == table.names(table.ids(np.array(texts, "S64"), 1))


def test_a_full_table_gives_minus_one_and_counts():
    table = TagTable(3)
    assert table.ids([*tags(5), tags(1)[0]], 1).tolist() == [0, 1, 2, -1, -1, 0]
    assert table.refused == 2
    assert table.ids([tags(5)[4], tags(5)[2]], 1).tolist() == [-1, 2]
    assert table.refused == 3
    assert len(table) == 3


def test_expire_forgets_what_is_old_and_not_kept():
    table = TagTable(8)
    table.ids(tags(4), 10)
    table.ids(tags(1), 30)  # tag 0 was seen again
    assert table.expire(20, np.array([2], np.int32)) == 2
    assert len(table) == 2
    assert table.ids([tags(4)[0], tags(4)[2]], 40).tolist() == [0, 2]
    with pytest.raises(ValueError, match="does not know"):
        table.names(np.array([1]))


def test_a_tag_seen_at_the_limit_stays():
    table = TagTable(8)
    table.ids(tags(1), 10)
    assert table.expire(10, NONE) == 0
    assert table.expire(11, NONE) == 1


def test_forgotten_ids_are_reused_last():
    table = TagTable(4)
    table.ids(tags(3), 1)
    table.expire(2, NONE)
    assert table.ids(tags(3, "name:new"), 5).tolist() == [3, 0, 1]


def test_many_generations_agree_with_a_dictionary():
    random, table, known = np.random.default_rng(7), TagTable(600), {}
    for step in range(40):
        names = [f"name:t-{i}" for i in random.integers(0, 3000, 300)]
        ids = table.ids(names if step % 2 else np.array(names, "S64"), step)
        for name, tag in zip(names, ids.tolist(), strict=True):
            if tag >= 0:
                assert known.setdefault(name, tag) == tag
        assert [n for n, i in zip(names, ids, strict=True) if i >= 0] == table.names(ids[ids >= 0])
        table.expire(step, NONE)
        current = set(table.names(np.flatnonzero(table._known)))
        known = {name: tag for name, tag in known.items() if name in current}
        assert len(known) == len(set(known.values())) == len(table)
    assert table.refused == 0


def test_colliding_hashes_are_told_apart(monkeypatch):
    monkeypatch.setattr(
        "ingest.tag_table._hash", lambda keys: np.full(len(keys), 2**64 - 1, np.uint64)
    )
    table = TagTable(64)
    assert list(range(64)) == table.ids(tags(64), 1).tolist()
    assert tags(64) == table.names(table.ids(np.array(tags(64), "S64"), 1))


def test_nothing_in_nothing_out():
    table = TagTable(1)
    assert table.ids([], 1).tolist() == []
    assert table.names(NONE) == []
    assert table.expire(5, NONE) == 0


@pytest.mark.parametrize("tag", ["name:" + "a" * 60, "name:ä"])
def test_what_does_not_fit_is_refused(tag):
    with pytest.raises(ValueError, match="a tag"):
        TagTable(4).ids([tag], 1)


def test_wrong_calls():
    with pytest.raises(ValueError, match="capacity"):
        TagTable(0)
    for bad in ([-1], [4], [0]):
        with pytest.raises(ValueError, match="does not know"):
            TagTable(4).names(np.array(bad))


def pseudonyms(count):
    return [f"p_{i:016d}".translate(str.maketrans("0189", "abcd")) for i in range(count)]


def at(count, t_ns):
    return np.full(count, t_ns)


def test_packed_pseudonyms_and_texts_give_the_same_ids():
    names = pseudonyms(3000)
    one, other = TagTable(5000), TagTable(5000)
    for values in (names[10:500:3], names[:1000], names[::-1], ["name:a", *names[:3]]):
        expected = one.ids(values, 7).tolist()
        if values[0].startswith("p_"):
            assert expected == other.packed_ids(packed(values), at(len(values), 7)).tolist()
        else:
            assert expected == other.ids(values, 7).tolist()
    assert names == other.names(other.packed_ids(packed(names), at(3000, 8)))
    restored = TagTable.restored(other.state())
    ids = other.packed_ids(packed(names), at(3000, 8)).tolist()
    assert ids == restored.packed_ids(packed(names), at(3000, 8)).tolist()
    assert ids == restored.ids(names, 8).tolist()


def test_packed_pseudonyms_are_seen_at_the_latest_of_their_times():
    table = TagTable(8)
    names = pseudonyms(3)
    ids = table.packed_ids(packed([names[0], names[1], names[0]]), np.array([30, 10, 20]))
    assert [0, 1, 0] == ids.tolist()
    assert 1 == table.expire(20, NONE)
    assert [-1, 0] == table.known([names[1], names[0]]).tolist()
    assert [2] == table.packed_ids(packed(names[1:2]), at(1, 40)).tolist()


def test_a_full_table_refuses_packed_pseudonyms_too():
    table = TagTable(2)
    names = pseudonyms(3)
    assert [0, 1, -1, -1, 0] == table.packed_ids(
        packed([*names, names[2], names[0]]), at(5, 1)
    ).tolist()
    assert (1, 0) == (table.refused, table.room)


def test_what_is_known_is_told_without_learning():
    table = TagTable(8)
    table.ids(["name:a", pseudonyms(1)[0]], 1)
    assert [1, -1, 0] == table.known([pseudonyms(1)[0], "name:b", "name:a"]).tolist()
    assert 2 == len(table)
