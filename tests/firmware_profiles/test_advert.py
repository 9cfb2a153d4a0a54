"""The walk over AD structures, names, services, addresses."""

import pytest

from firmware_profiles.advert import (
    ad_structures,
    address_kind,
    build_advert,
    local_name,
    name_matches,
    offers_service,
    sender_ids,
)
from firmware_profiles.registry import load_registry


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("", []),
        ("0106", [(6, b"")]),
        ("00ff", []),
        ("020106", [(1, b"\x06")]),
        ("02010600ffff", [(1, b"\x06")]),
        ("03", None),
        ("0201", None),
        ("02010603", None),
    ],
)
def test_structures(data, expected):
    assert expected == ad_structures(bytes.fromhex(data))


def test_names_and_services():
    advert = build_advert((0x03, bytes.fromhex("aafe03fe")), (0x09, b"MagicBand+ B28C"))
    assert local_name(advert) == "MagicBand+ B28C"
    assert name_matches(advert, "MagicBand+*")
    assert not name_matches(advert, "magicband*")
    assert offers_service(advert, 0xFE03)
    assert not offers_service(advert, 0xFE04)
    assert local_name(b"") is None


def test_who_speaks():
    advert = build_advert((0xFF, b"\x4c\x00\x10\x00"), (0x03, b"\xaa\xfe\xaa"))
    assert sender_ids(advert) == ("company:004c", "service:feaa")
    assert sender_ids(b"\x05\xff") == ()
    assert load_registry().profiles_for("service:fcd2") == ("shelly_blu", "bthome_v2")
    assert load_registry().profiles_for("company:1234") == ()


@pytest.mark.parametrize(
    ("address", "random", "kind"),
    [
        ("c01122334455", True, "random_static"),
        ("801122334455", True, "reserved"),
        ("001122334455", True, "non_resolvable_private"),
        ("c01122334455", False, "public"),
    ],
)
def test_kinds_of_addresses(address, random, kind):
    assert address_kind(bytes.fromhex(address), random=random) == kind
