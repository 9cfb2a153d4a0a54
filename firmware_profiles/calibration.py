"""Calibration: raw counts of a load cell to grams.

Rules of the file: tare and counts per unit come from the caller (`edge.toml`), under
the names that `[calibration]` gives them; without them there is no value. Source:
HX711 data sheet (24-bit two's complement; 0x7FFFFF and 0x800000 are saturation).
"""

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

from firmware_profiles.decoded import Fields, Options


def compile_calibration(table: Mapping[str, Any]) -> Callable[[Fields, Options], None]:
    """Compile a `[calibration]` into a function that adds the calibrated field.

    Parameters
    ----------
    table : the checked `[calibration]`

    Returns
    -------
    A function of fields, which it changes, and options.

    Examples
    --------
    >>> add = compile_calibration(
    ...     {"from": "counts", "to": "mass_g", "tare": "tare_counts", "per_unit": "per_g"}
    ... )
    >>> fields = {"counts": 1500}
    >>> add(fields, {"tare_counts": 500, "per_g": 10.0})
    >>> fields["mass_g"]
    100.0
    """
    source, target, unless = table["from"], table["to"], table.get("unless", "")
    tare_name, per_name, decimals = table["tare"], table["per_unit"], table.get("decimals", 3)

    def calibrate(fields: Fields, options: Options) -> None:
        tare, per_unit = options.get(tare_name, 0), options.get(per_name)
        raw = fields.get(source)
        if not isinstance(per_unit, int | float) or per_unit == 0 or raw is None:
            return
        if not isinstance(tare, int | float):
            return
        value = (raw - tare) / per_unit
        known = isfinite(value) and not fields.get(unless)
        fields[target] = round(value, decimals) if known else None

    return calibrate
