"""Bluetooth adverts: the walk over AD structures, and building them.

Rules of the file: an advert is walked to its end before anything in it is believed;
a structure that runs past the end makes the whole advert malformed, a length of zero
ends it. Source: Bluetooth Core Specification, Vol 3 Part C section 11 (format), Vol 6
Part B section 1.3 (addresses), Supplement Part A (types).
"""

from fnmatch import fnmatchcase

FLAGS = 0x01
SERVICES16 = (0x02, 0x03)
NAMES = (0x08, 0x09)
SERVICE_DATA16 = 0x16
MANUFACTURER = 0xFF


def ad_structures(data: bytes) -> list[tuple[int, bytes]] | None:
    r"""Split an advert into (type, payload); None if a structure runs past the end.

    Parameters
    ----------
    data : the advert as received

    Returns
    -------
    Types and payloads in order, or None.

    Examples
    --------
    >>> ad_structures(bytes.fromhex("020106050943617274"))
    [(1, b'\x06'), (9, b'Cart')]
    >>> ad_structures(bytes.fromhex("1aff4c0002")) is None
    True
    """
    found: list[tuple[int, bytes]] = []
    at, end = 0, len(data)
    while at < end:
        size = data[at]
        if size == 0:
            break
        if at + size >= end:
            return None
        found.append((data[at + 1], data[at + 2 : at + 1 + size]))
        at += size + 1
    return found


def local_name(data: bytes) -> str | None:
    """Return the advertised name, printable letters only, or None."""
    name = None
    at, end = 0, len(data)
    while at < end:
        size = data[at]
        if size == 0:
            break
        if at + size >= end:
            return None
        if name is None and data[at + 1] in NAMES:
            name = data[at + 2 : at + 1 + size]
        at += size + 1
    if name is None:
        return None
    text = name.decode("utf-8", "replace")
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def offers_service(data: bytes, uuid16: int) -> bool:
    """Tell whether a 16-bit service UUID stands in the advert's lists of services."""
    wanted = uuid16.to_bytes(2, "little")
    if wanted not in data:
        return False
    return any(
        payload[at : at + 2] == wanted
        for kind, payload in ad_structures(data) or ()
        if kind in SERVICES16
        for at in range(0, len(payload), 2)
    )


def name_matches(data: bytes, glob: str) -> bool:
    """Tell whether the advertised name matches a pattern of `*` and `?`."""
    name = local_name(data)
    return name is not None and fnmatchcase(name, glob)


def sender_ids(data: bytes) -> tuple[str, ...]:
    """Return who speaks in an advert, by company and service numbers, each once.

    Parameters
    ----------
    data : the advert as received

    Returns
    -------
    Texts like `company:004c` and `service:fcd2`; empty for a malformed advert.

    Examples
    --------
    >>> sender_ids(bytes.fromhex("0303aafe0516d2fc40010416aafe00"))
    ('service:feaa', 'service:fcd2')
    """
    found: dict[str, None] = {}
    for kind, payload in ad_structures(data) or ():
        if kind == MANUFACTURER and len(payload) > 1:
            found[f"company:{payload[1]:02x}{payload[0]:02x}"] = None
        elif kind == SERVICE_DATA16 and len(payload) > 1:
            found[f"service:{payload[1]:02x}{payload[0]:02x}"] = None
        elif kind in SERVICES16:
            for at in range(0, len(payload) - 1, 2):
                found[f"service:{payload[at + 1]:02x}{payload[at]:02x}"] = None
    return tuple(found)


def build_advert(*structures: tuple[int, bytes]) -> bytes:
    """Build an advert: the usual flags, then the structures given.

    Parameters
    ----------
    *structures : types and payloads

    Returns
    -------
    The bytes of the advert.

    Examples
    --------
    >>> build_advert((0x09, b"Cart")).hex()
    '020106050943617274'
    """
    parts = [bytes((2, FLAGS, 0x06))]
    parts += [bytes((len(payload) + 1, kind)) + payload for kind, payload in structures]
    return b"".join(parts)


def address_kind(address: bytes, *, random: bool) -> str:
    """Tell what kind of address a device uses.

    Parameters
    ----------
    address : 6 bytes, most significant first (as printed)
    random : what the radio says (TxAdd, BlueZ `AddressType`); the bits do not tell

    Returns
    -------
    `public`, `random_static`, `resolvable_private`, `non_resolvable_private` or `reserved`.

    Examples
    --------
    >>> address_kind(bytes.fromhex("4a1122334455"), random=True)
    'resolvable_private'
    """
    if not random:
        return "public"
    kinds = ("non_resolvable_private", "resolvable_private", "reserved", "random_static")
    return kinds[address[0] >> 6]
