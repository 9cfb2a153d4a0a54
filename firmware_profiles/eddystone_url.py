"""The compressed URL of Eddystone: one byte for the scheme, single bytes for endings.

Rules of the file: reserved codes are refused. Source: Eddystone-URL specification,
"URL scheme prefix" and "HTTP URL encoding".
"""

from firmware_profiles.decoded import Refused

_SCHEMES = ("http://www.", "https://www.", "http://", "https://")
_ENDINGS = (".com", ".org", ".edu", ".net", ".info", ".biz", ".gov")
_EXPANSIONS = tuple(ending + "/" for ending in _ENDINGS) + _ENDINGS
_PARTS = tuple(
    _EXPANSIONS[byte] if byte < len(_EXPANSIONS) else chr(byte) if 0x20 < byte < 0x7F else ""
    for byte in range(256)
)
"""What each byte behind the scheme stands for; nothing for the reserved ones."""


def read_url(data: bytes) -> str:
    """Expand a compressed URL.

    Parameters
    ----------
    data : code of the scheme, then letters and codes of endings

    Returns
    -------
    The URL.

    Examples
    --------
    >>> read_url(bytes.fromhex("03676f6f2e676c2f61"))
    'https://goo.gl/a'
    """
    if not data or data[0] >= len(_SCHEMES):
        raise Refused("bad-value")
    parts = [_PARTS[byte] for byte in data[1:]]
    if "" in parts:
        raise Refused("bad-value")
    return _SCHEMES[data[0]] + "".join(parts)


def write_url(url: str) -> bytes:
    """Compress a URL.

    Parameters
    ----------
    url : with one of the four schemes

    Returns
    -------
    Code of the scheme, then letters and codes of endings.

    Raises
    ------
    ValueError
        The scheme is another.
    """
    code = next((i for i, scheme in enumerate(_SCHEMES) if url.startswith(scheme)), None)
    if code is None:
        raise ValueError("expected a URL that begins with http:// or https://")
    out = bytearray((code,))
    rest = url[len(_SCHEMES[code]) :]
    while rest:
        found = next((i for i, text in enumerate(_EXPANSIONS) if rest.startswith(text)), None)
        if found is None:
            out += rest[0].encode("ascii", "strict")
            rest = rest[1:]
        else:
            out.append(found)
            rest = rest[len(_EXPANSIONS[found]) :]
    return bytes(out)
