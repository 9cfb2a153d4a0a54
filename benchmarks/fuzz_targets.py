"""What `fuzz.py` does with one input, for every decoder, and the inputs it begins with.

Rules of the file: the first byte of an input chooses (an address or none, a key or none,
the whole advert or its body, how a stream is cut into pieces), the others are what comes
from outside. The first inputs are the profiles' own test vectors. Encrypted schemes get
random keys through their profiles, which no input passes, and besides, as `sealed:...`,
any plain text that is sealed here with such a key, so that what lies behind is reached.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from firmware_profiles.advert import MANUFACTURER, SERVICE_DATA16, ad_structures
from firmware_profiles.compile import Profile
from firmware_profiles.decoded import Decoded, Rejected
from firmware_profiles.decoders.ntag424 import sun_mac
from firmware_profiles.registry import Registry

Answers = list[Decoded | Rejected]
ADDRESS = "A4:C1:38:8D:18:B2"
MOST_BYTES = {"ble-adv": 64, "serial-binary": 96, "serial-line": 96}
MOST_BYTES_ELSE = 48
CALIBRATION = {
    "tare_counts": 100,
    "counts_per_gram": 420.5,
    "scale_g_per_count": 0.1,
    "scale_mm_per_count": 2,
    "word_order": "little",
}
PIECES = [[1 + (7 * pattern + 5 * step * step) % 11 for step in range(12)] for pattern in range(16)]
"""Sixteen ways to cut a stream: sizes of its pieces, again and again [bytes]."""


class PiecesMatter(AssertionError):
    """A stream gave something else when it came in other pieces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A decoder: its first inputs, its longest input, and what to do with one."""

    name: str
    seeds: list[bytes]
    most_bytes: int
    run: Callable[[bytes], Answers]


def targets_of(registry: Registry) -> dict[str, Target]:
    """Return every decoder by name: one for each profile, and the encrypted schemes."""
    found = [_target(registry, profile) for profile in registry.profiles.values()]
    found += [_sealed_bthome(registry), _sealed_mibeacon(registry), _sealed_sun(registry)]
    return {target.name: target for target in found}


def _target(registry: Registry, profile: Profile) -> Target:
    data = [bytes.fromhex(test["hex"]) for test in profile.table["test"]]
    if profile.transport == "ble-adv":
        run = _advert(registry, profile)
        seeds = [bytes((choice,)) + one for one in data for choice in (5, 7)]
        seeds += [b"\1" + body for one in data for body in _bodies(one)]
    elif profile.is_stream:
        run = _stream(profile)
        seeds = [bytes((choice,)) + one for one in data for choice in (0, 3)]
    else:
        run = _record(profile)
        seeds = [
            bytes((test.get("options", {}).get("bit_length", 65),)) + one
            for test, one in zip(profile.table["test"], data, strict=True)
        ]
    most = max(MOST_BYTES.get(profile.transport, MOST_BYTES_ELSE), *map(len, seeds))
    return Target(name=profile.id, seeds=seeds, most_bytes=most, run=run)


def _bodies(advert: bytes) -> list[bytes]:
    parts = ad_structures(advert) or []
    return [data[2:] for kind, data in parts if kind in (MANUFACTURER, SERVICE_DATA16)]


def _key(data: bytes) -> bytes:
    """Return a key that depends on the input and on nothing else."""
    return hashlib.blake2b(data[:8], digest_size=16).digest()


def _advert(registry: Registry, profile: Profile) -> Callable[[bytes], Answers]:
    def run(data: bytes) -> Answers:
        choice, rest = data[:1] or b"\0", data[1:]
        address = ADDRESS if choice[0] & 1 else None
        key = _key(rest) if choice[0] & 2 else None
        if choice[0] & 4:
            only = None if choice[0] & 8 else profile.id
            return [registry.decode_advert(rest, address=address, key=key, only=only)]
        return [profile.read(rest, {"address": address, "key": key})]

    return run


def _stream(profile: Profile) -> Callable[[bytes], Answers]:
    def run(data: bytes) -> Answers:
        choice, rest = data[0] if data else 0, data[1:]
        key = bytes(16) if choice & 2 else _key(rest)
        options = {"key": key, **(CALIBRATION if choice & 1 else {})}
        whole, other = profile.stream(options), profile.stream(options)
        expected = whole.feed(rest) + whole.finish()
        sizes = PIECES[choice >> 4]
        found: Answers = []
        at = step = 0
        while at < len(rest):
            size = sizes[step % len(sizes)]
            found += other.feed(rest[at : at + size])
            at, step = at + size, step + 1
        if found + other.finish() != expected:
            raise PiecesMatter(f"pieces of {sizes} bytes")
        return expected

    return run


def _record(profile: Profile) -> Callable[[bytes], Answers]:
    def run(data: bytes) -> Answers:
        choice, rest = data[0] if data else 0, data[1:]
        options = {
            "bit_length": choice,
            "tx_add": ("public", "random", "", None)[choice & 3],
            **(CALIBRATION if choice & 4 else {}),
        }
        if choice & 64:
            del options["bit_length"]
        return [profile.read(rest, options)]

    return run


def _sealed_bthome(registry: Registry) -> Target:
    profile = registry.profiles["bthome_v2"]

    def run(data: bytes) -> Answers:
        from cryptography.hazmat.primitives.ciphers.aead import AESCCM

        info = bytes((0x41 | (data[0] if data else 0) & 0x04,))
        key, counter = _key(data), b"\0\1\2\3"
        nonce = bytes.fromhex(ADDRESS.replace(":", "")) + b"\xd2\xfc" + info + counter
        sealed = AESCCM(key, tag_length=4).encrypt(nonce, data[1:], None)
        body = info + sealed[:-4] + counter + sealed[-4:]
        return [profile.read(body, {"address": ADDRESS, "key": key})]

    plain = [test["hex"] for test in profile.table["test"] if "key_hex" not in test]
    seeds = [b"\0" + body[1:] for one in plain for body in _bodies(bytes.fromhex(one))]
    return Target(name="sealed:bthome-v2-ccm", seeds=seeds, most_bytes=48, run=run)


def _sealed_mibeacon(registry: Registry) -> Target:
    profile = registry.profiles["mibeacon"]
    head, mac = bytes.fromhex("5858 5b05 1f"), bytes.fromhex(ADDRESS.replace(":", ""))

    def run(data: bytes) -> Answers:
        from cryptography.hazmat.primitives.ciphers.aead import AESCCM

        key, counter = _key(data), b"\1\2\3"
        nonce = mac[::-1] + head[2:5] + counter
        sealed = AESCCM(key, tag_length=4).encrypt(nonce, data[1:], b"\x11")
        body = head + mac[::-1] + sealed[:-4] + counter + sealed[-4:]
        return [profile.read(body, {"key": key})]

    seeds = [b"\0" + bytes.fromhex(one) for one in ("041002d200", "0a100164", "0f0003640000")]
    return Target(name="sealed:mibeacon-v5", seeds=seeds, most_bytes=48, run=run)


def _sealed_sun(registry: Registry) -> Target:
    profile = registry.profiles["ntag424_sun"]

    def run(data: bytes) -> Answers:
        key, uid, counter = _key(data), data[1:8].ljust(7, b"\4"), data[8:11].ljust(3, b"\0")
        covered = b"" if len(data) < 27 else data[11:43].hex().encode()[:64] + b"&cmac="
        line = b"https://shop.example/tap?uid=" + uid.hex().encode()
        line += b"&ctr=" + counter[::-1].hex().encode()
        line += b"&enc=" + covered if covered else b"&cmac="
        line += sun_mac(key, uid, counter, covered).hex().encode()
        return [profile.read(line, {"key": key})]

    seeds = [b"\0\4\1\2\3\4\5\6\1\0\0", bytes(11) + bytes(range(32))]
    return Target(name="sealed:ntag424-sun", seeds=seeds, most_bytes=48, run=run)
