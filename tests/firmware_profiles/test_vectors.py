"""Every reference vector through the decode lines of the contract, family by family."""

from collections import Counter

import pytest

from firmware_profiles.command import decode_line
from firmware_profiles.registry import load_registry
from tests.firmware_profiles.vectors import read_vectors

NOT_YET: set[str] = set()
"""Families of the vectors that no profile decodes yet; a family that passes must leave it."""


def outcome(registry, vector):
    """Return passed, failed or skipped for one vector."""
    line = {key: value for key, value in vector.items() if key != "expected"}
    found = decode_line(registry, line)
    expected = vector["expected"]
    if found.get("reject") == "no-crypto":
        return "skipped"
    if expected == "reject":
        return "passed" if set(found) == {"name", "reject"} else "failed"
    if set(expected) == {"frames"}:
        return "passed" if found.get("frames") == expected["frames"] else "failed"
    right = found.get("fields") == expected and found["device"] == vector["device"]
    return "passed" if right else "failed"


def test_every_family_passes(record_property):
    registry = load_registry()
    families: dict[str, Counter[str]] = {}
    for vector in read_vectors():
        family = families.setdefault(vector["device"], Counter())
        family[outcome(registry, vector)] += 1
    for family, counts in families.items():
        record_property(family, dict(counts))
    failing = {family for family, counts in families.items() if counts["failed"]}
    assert failing == NOT_YET
    assert sum(counts["passed"] for counts in families.values()) >= 100


def test_encrypted_vectors_pass_where_the_package_is():
    pytest.importorskip(
        "cryptography", reason="encrypted vectors need the package 'cryptography', which is missing"
    )
    registry = load_registry()
    sealed = [vector for vector in read_vectors() if "key_hex" in vector]
    assert [outcome(registry, vector) for vector in sealed] == ["passed"] * len(sealed)
