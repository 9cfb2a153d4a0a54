"""Deleting single points: which one, and how 1.x and 2.x are asked for it.

Rules of the file: a point is known by measurement, tags and time; a person is in none of
them. InfluxQL: DELETE takes tags and time, not fields. 2.x: the delete API takes a
stretch of time and a predicate of tags. 3 Core has neither: the caller voids the point.
"""

import msgspec

from gateway.events import rfc3339


class Erasure(msgspec.Struct, frozen=True):
    """One point that is no longer true, and the line that voids it."""

    measurement: str
    tags: dict[str, str]
    t_ns: int
    void: str


def delete_v1(erasure: Erasure) -> str:
    """Return the InfluxQL statement that deletes a point.

    Parameters
    ----------
    erasure : the point

    Examples
    --------
    >>> print(delete_v1(Erasure("dwell", {"zone": "shoes"}, 5, "")))
    DELETE FROM "dwell" WHERE time = 5 AND "zone" = 'shoes'
    """
    tags = "".join(
        f" AND {_quoted(name)} = {_text(value)}" for name, value in erasure.tags.items() if value
    )
    name = _quoted(erasure.measurement)
    return f"DELETE FROM {name} WHERE time = {erasure.t_ns}{tags}"  # noqa: S608 (escaped)


def delete_v2(erasure: Erasure) -> bytes:
    """Return the body for the delete API of 2.x.

    Parameters
    ----------
    erasure : the point
    """
    predicate = [f"_measurement={_quoted(erasure.measurement)}"]
    predicate += [f"{name}={_quoted(value)}" for name, value in erasure.tags.items() if value]
    return msgspec.json.encode(
        {
            "start": rfc3339(erasure.t_ns),
            "stop": rfc3339(erasure.t_ns + 1),
            "predicate": " AND ".join(predicate),
        }
    )


def _quoted(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _text(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
