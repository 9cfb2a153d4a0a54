"""The gateway's acknowledgements, ``A/ack``, as this agent reads them.

Rules of the file: what cannot be read is no acknowledgement, and nothing follows from it.
"""

import msgspec

from ingest.batch import KINDS

_BYTES_MAX = 1024


class Ack(msgspec.Struct, frozen=True):
    """Everything of a boot and kind up to seq is stored.

    `now_ns` is the gateway's clock, an extension; 0 = not said.
    """

    boot: str
    kind: str
    seq: int
    now_ns: int = 0


def read_ack(payload: bytes) -> Ack | None:
    """Read a payload.

    Parameters
    ----------
    payload : of a message

    Returns
    -------
    ack : None when it is not one
    """
    if len(payload) > _BYTES_MAX:
        return None
    try:
        ack = msgspec.json.decode(payload, type=Ack)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    return ack if ack.kind in KINDS and ack.seq >= 1 else None
