"""How fast points become lines for InfluxDB, beside influxdb-client's own Point.

Rules of the file: dwell rows as the gateway writes them, new texts in every row; the
peer gets the same values and writes the same number of lines. CPU time of one thread.
"""

from typing import Any

from influxdb_client.client.write.point import Point as PeerPoint

from fanous.benchmarks.crowd import START_NS
from fanous.benchmarks.figure import Figure, Say, best_cpu_s
from gateway.line_protocol import Point, encode_point, stamp_ns


def measure(*, quick: bool, say: Say) -> tuple[Figure, ...]:
    """Measure lines a second.

    Parameters
    ----------
    quick : fewer lines
    say : told what is being measured
    """
    count = 2_000 if quick else 50_000
    say(f"line protocol, {count} dwell rows")
    rows = [_row(number) for number in range(count)]
    ours = count / best_cpu_s(lambda: [encode_point(_point(*row)) for row in rows])
    peer = count / best_cpu_s(lambda: [_peer_line(*row) for row in rows])
    return (
        Figure(
            name="line-protocol.lines",
            value=ours,
            unit="lines/s",
            better="higher",
            peer={"influxdb-client Point": peer},
        ),
    )


Row = tuple[dict[str, str], dict[str, float | int | str], int]


def _row(number: int) -> Row:
    visit = f"{number:016x}"
    tags = {"store": "demo", "zone": f"zone {number % 40}", "zone_kind": "aisle"}
    fields: dict[str, float | int | str] = {
        "dwell_s": 5.0 + number % 600,
        "sigma_s": 1.25,
        "readings": 7 * number % 4096,
        "confidence": 0.001 * (number % 1000),
        "visit": visit,
    }
    return tags, fields, stamp_ns(START_NS + number * 10**7, visit)


def _point(tags: dict[str, str], fields: dict[str, float | int | str], t_ns: int) -> Point:
    return Point(measurement="dwell", tags=tags, fields=fields, t_ns=t_ns)


def _peer_line(tags: dict[str, str], fields: dict[str, float | int | str], t_ns: int) -> str:
    peer: Any = PeerPoint  # its methods have no types
    point = peer("dwell")
    for name, text in tags.items():
        point = point.tag(name, text)
    for name, value in fields.items():
        point = point.field(name, value)
    return str(point.time(t_ns).to_line_protocol())
