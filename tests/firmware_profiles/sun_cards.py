"""A card of NTAG 424 DNA in plain Python: it makes the addresses that readers hand on.

Only for tests. AES-CMAC as in RFC 4493, over the AES of `aes_reference`, so that what the
product verifies was not signed by the same code.
"""

from tests.firmware_profiles.aes_reference import aes128


def _doubled(block):
    number = int.from_bytes(block) << 1
    return ((number ^ 0x87 if number >> 128 else number) & ((1 << 128) - 1)).to_bytes(16)


def _xor(one, other):
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def cmac(key, message):
    """Return the AES-CMAC of a message."""
    first = _doubled(aes128(key, bytes(16)))
    blocks = [message[at : at + 16] for at in range(0, len(message), 16)] or [b""]
    last = blocks.pop()
    if len(last) == 16:
        last = _xor(last, first)
    else:
        last = _xor((last + b"\x80").ljust(16, b"\0"), _doubled(first))
    state = bytes(16)
    for block in [*blocks, last]:
        state = aes128(key, _xor(state, block))
    return state


class SunCard:
    """One card with a key of its own, or the store's; UID and counter are mirrored in plain.

    Parameters
    ----------
    uid_hex : 14 digits
    key : SDMFileReadKey
    """

    def __init__(self, uid_hex="04de5f1eacc040", key=bytes(range(16))):
        self.uid, self.key, self.counter = bytes.fromhex(uid_hex), key, 0

    def read(self):
        """Be read once more: return the line that a reader types."""
        self.counter += 1
        return self.line(self.counter)

    def line(self, counter):
        """Return the line of some reading."""
        mirrored = counter.to_bytes(3)
        session = cmac(self.key, bytes.fromhex("3cc300010080") + self.uid + mirrored[::-1])
        mac = cmac(session, b"")[1::2]
        query = f"uid={self.uid.hex()}&ctr={mirrored.hex()}&cmac={mac.hex()}".upper()
        query = query.replace("UID", "uid").replace("CTR", "ctr").replace("CMAC", "cmac")
        return f"https://shop.example/t?{query}\r\n".encode()
