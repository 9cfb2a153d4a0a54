"""Rows that the tests vary."""

from analytics.rows import Dwell, Visit
from tests.gateway.samples import ANNA, SECOND


def dwell(name, start_ns, *, visit="v1", zone="shoes", tag=ANNA, seconds=60):
    return Dwell(
        dwell=name,
        visit=visit,
        tag=tag,
        layer="main",
        zone=zone,
        start_ns=start_ns,
        end_ns=start_ns + seconds * SECOND,
        dwell_s=float(seconds),
        sigma_s=0.5,
        confidence=0.9,
        readings=12,
    )


def visit(name, start_ns, *, tag=ANNA, seconds=120):
    return Visit(
        visit=name,
        tag=tag,
        start_ns=start_ns,
        end_ns=start_ns + seconds * SECOND,
        visit_s=float(seconds),
        zones=2,
        path="shoes>promo",
        path_length_m=12.5,
        directness=None,
        hesitations=1,
        taps=1,
        shelf_s=3.0,
        picks=1,
        returns=0,
        purpose="browse",
        purpose_p=0.7,
    )
