"""AES-128 and CCM in plain Python: the reference against which nonces and layouts are tested.

Only for tests: slow, and not hardened. FIPS 197 and RFC 3610.
"""


def _gmul(a, b):
    out = 0
    while b:
        if b & 1:
            out ^= a
        a = a << 1 ^ (0x11B if a & 0x80 else 0)
        b >>= 1
    return out


def _sbox():
    box = []
    for value in range(256):
        inverse = next((x for x in range(256) if _gmul(value, x) == 1), 0)
        out = 0x63
        for shift in range(5):
            out ^= (inverse << shift | inverse >> (8 - shift)) & 0xFF
        box.append(out)
    return box


SBOX = _sbox()


def aes128(key, block):
    """Encrypt one block of 16 bytes."""
    words = [list(key[i : i + 4]) for i in range(0, 16, 4)]
    rcon = 1
    for i in range(4, 44):
        word = list(words[i - 1])
        if i % 4 == 0:
            word = [SBOX[b] for b in word[1:] + word[:1]]
            word[0] ^= rcon
            rcon = _gmul(rcon, 2)
        words.append([a ^ b for a, b in zip(words[i - 4], word, strict=True)])
    rounds = [[byte for word in words[i : i + 4] for byte in word] for i in range(0, 44, 4)]
    state = [a ^ b for a, b in zip(block, rounds[0], strict=True)]
    for number in range(1, 11):
        state = [SBOX[b] for b in state]
        state = [state[(i + 4 * (i % 4)) % 16] for i in range(16)]
        if number < 10:
            mixed = []
            for column in range(0, 16, 4):
                a = state[column : column + 4]
                mixed += [
                    _gmul(a[i], 2) ^ _gmul(a[(i + 1) % 4], 3) ^ a[(i + 2) % 4] ^ a[(i + 3) % 4]
                    for i in range(4)
                ]
            state = mixed
        state = [a ^ b for a, b in zip(state, rounds[number], strict=True)]
    return bytes(state)


def _tag(key, nonce, plain, aad, size):
    flags = (64 if aad else 0) | ((size - 2) // 2) << 3 | (14 - len(nonce))
    blocks = bytes([flags]) + nonce + len(plain).to_bytes(15 - len(nonce), "big")
    if aad:
        head = len(aad).to_bytes(2, "big") + aad
        blocks += head + bytes(-len(head) % 16)
    blocks += plain + bytes(-len(plain) % 16)
    mac = bytes(16)
    for at in range(0, len(blocks), 16):
        mac = aes128(key, bytes(a ^ b for a, b in zip(mac, blocks[at : at + 16], strict=True)))
    return mac[:size]


def _stream(key, nonce, number):
    return aes128(key, bytes([14 - len(nonce)]) + nonce + number.to_bytes(15 - len(nonce), "big"))


def _cipher(key, nonce, data):
    out = b""
    for number in range(0, len(data), 16):
        pad = _stream(key, nonce, number // 16 + 1)
        out += bytes(a ^ b for a, b in zip(data[number : number + 16], pad, strict=False))
    return out


def seal_ccm(key, nonce, plain, aad, size=4):
    """Encrypt and authenticate; return cipher text and tag."""
    tag = _tag(key, nonce, plain, aad, size)
    pad = _stream(key, nonce, 0)
    return _cipher(key, nonce, plain) + bytes(a ^ b for a, b in zip(tag, pad, strict=False))


def open_ccm(key, nonce, sealed, aad, size=4):
    """Return the plain text, or None if the tag is wrong."""
    plain = _cipher(key, nonce, sealed[:-size])
    return plain if seal_ccm(key, nonce, plain, aad, size) == sealed else None
