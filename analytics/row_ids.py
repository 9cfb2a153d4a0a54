"""Stable identifiers of rows: the same data give the same ids, on every machine."""

import hashlib


def row_id(
    store: str,
    *,
    tag: str,
    kind: str,
    layer: str = "",
    place: str = "",
    gtin: str = "",
    start_tick: int,
    ordinal: int = 0,
) -> str:
    """Return the identifier of a row: 16 hexadecimal characters.

    Parameters
    ----------
    store : the store's id
    tag : the pseudonym, in every identity mode; empty for rows without a person
    kind : visit, dwell or event
    layer, place, gtin : where it happened; place is a zone or a shelf
    start_tick : number of the tick in which it began
    ordinal : tells apart rows that agree in all of these

    Notes
    -----
    BLAKE2b (RFC 7693) with 8 bytes over the parts, separated by a byte no name contains.
    """
    parts = (store, tag, kind, layer, place, gtin, str(start_tick), str(ordinal))
    return hashlib.blake2b("\x1f".join(parts).encode(), digest_size=8).hexdigest()
