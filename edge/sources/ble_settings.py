"""The table of a Bluetooth source, checked without hardware.

Rules of the file: every wrong value is a `ConfigError`; the site's beacon is a raw tag
and is not repeated in a message.
"""

import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from edge.sources.advert_sensors import SensorSettings, check_sensors
from edge.sources.adverts import TAP_HOLD_OFF_S
from edge.sources.ble_adverts import AllowSettings
from ingest.config import ConfigError, shown, to_struct
from ingest.identifiers import is_name, is_tag

_ADAPTER = re.compile(r"hci[0-9]{1,3}")


class BleSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[[source]]`` with ``kind = "ble"``."""

    receiver: str
    name: str = "ble"
    adapter: str = "hci0"
    mode: Literal["active", "passive"] = "active"
    watchdog_s: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 15.0
    site_beacon: str | None = None
    irk_file: str | None = None
    keys_file: str | None = None
    tap_point: str | None = None
    tap_rssi_min_dbm: Annotated[float, msgspec.Meta(ge=-127, le=20)] | None = None
    tap_hold_off_s: Annotated[float, msgspec.Meta(ge=0, le=3600)] = TAP_HOLD_OFF_S
    queue_max: Annotated[int, msgspec.Meta(ge=10, le=100_000)] = 2048
    adverts_cached_max: Annotated[int, msgspec.Meta(ge=1)] = 4096
    devices_cached_max: Annotated[int, msgspec.Meta(ge=16)] = 1024
    allow: AllowSettings = AllowSettings()
    sensor: tuple[SensorSettings, ...] = ()


def read_ble_settings(table: Mapping[str, Any], *, subject: str, base: Path) -> BleSettings:
    """Check the table of a Bluetooth source.

    Parameters
    ----------
    table : as `BleSettings`
    subject : which table, for messages
    base : the folder that `irk_file` and `keys_file` are relative to

    Returns
    -------
    settings : with absolute paths

    Raises
    ------
    ConfigError
        A key is wrong, or bleak is not installed.
    """
    settings = to_struct(table, BleSettings, subject=subject)
    beacon = settings.site_beacon
    if not is_name(settings.receiver):
        raise ConfigError(
            f"{subject}: receiver: expected a name like 'rx-1', got {shown(settings.receiver)}"
        )
    if _ADAPTER.fullmatch(settings.adapter) is None:
        raise ConfigError(
            f"{subject}: adapter: expected one like 'hci0', got {shown(settings.adapter)}"
        )
    if beacon is not None and not is_tag(beacon):
        raise ConfigError(
            f"{subject}: site_beacon: expected a tag like 'ibeacon:<uuid>-1-1', got something else"
        )
    check_taps(settings.tap_point, settings.tap_rssi_min_dbm, subject=subject)
    check_sensors(settings.sensor, subject=subject)
    if find_spec("bleak") is None or find_spec("dbus_fast") is None:
        raise ConfigError(
            f"{subject}: kind 'ble' needs bleak and dbus-fast, which are not installed; "
            "install fanous[edge]"
        )
    files = {
        key: str(base / path)
        for key in ("irk_file", "keys_file")
        if (path := getattr(settings, key)) is not None
    }
    return msgspec.structs.replace(settings, **files)


def check_taps(tap_point: str | None, rssi_min_dbm: float | None, *, subject: str) -> None:
    """Check which taps a radio makes of presses.

    Parameters
    ----------
    tap_point : that the radio is; None = presses are no taps
    rssi_min_dbm : [dBm] weaker presses are somebody else's
    subject : which table, for messages

    Raises
    ------
    ConfigError
        The tap point is no name, or there is a limit without one.
    """
    if tap_point is not None and not is_name(tap_point):
        raise ConfigError(
            f"{subject}: tap_point: expected a name like 'help-1', got {shown(tap_point)}"
        )
    if tap_point is None and rssi_min_dbm is not None:
        raise ConfigError(f"{subject}: tap_rssi_min_dbm: expected a tap_point with it, got none")
