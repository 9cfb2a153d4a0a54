import numpy as np
import pytest

from ingest.identifiers import is_pseudonym
from ingest.packed_tags import PackedTags, are_packed, unpacked

NAMES = ["p_abcdefghijklmnop", "p_qrstuvwxyz234567"]


def packed(names):
    words = np.frombuffer("".join(name[2:] for name in names).encode(), "<u8").reshape(-1, 2)
    return PackedTags(words[:, 0].copy(), words[:, 1].copy())


def test_it_is_a_sequence_of_the_texts():
    tags = packed(NAMES)
    assert (2, NAMES, NAMES[1], NAMES[:1]) == (len(tags), list(tags), tags[1], list(tags[:1]))
    assert [name.encode() for name in NAMES] == unpacked(tags.a, tags.b).tolist()


@pytest.mark.parametrize("at", range(16))
def test_every_character_must_be_of_the_alphabet(at):
    for character in map(chr, range(256)):
        text = NAMES[0][: 2 + at] + character + NAMES[0][3 + at :]
        words = np.frombuffer(text[2:].encode("latin-1"), "<u8")
        assert is_pseudonym(text) == bool(are_packed(words).all())
