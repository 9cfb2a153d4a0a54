"""Names of the companies and services that a shop is likely to hear.

Rules of the file: data only. Numbers as in the Bluetooth SIG's Assigned Numbers (company
identifiers, 16-bit UUIDs of members and of services); short names of our own. It is no
copy of that list: a number that is not here is shown as a number.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

SENDERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "company:0006": "Microsoft",
        "company:004c": "Apple",
        "company:0059": "Nordic Semiconductor",
        "company:0075": "Samsung",
        "company:0087": "Garmin",
        "company:00e0": "Google",
        "company:0118": "Radius Networks",
        "company:0157": "Huami (Amazfit)",
        "company:015d": "Estimote",
        "company:0171": "Amazon",
        "company:0183": "Walt Disney",
        "company:02e5": "Espressif",
        "company:038f": "Xiaomi",
        "company:0499": "Ruuvi",
        "company:0639": "Minew",
        "company:089a": "Teltonika",
        "company:0ba9": "Allterco (Shelly)",
        "service:180f": "battery",
        "service:181a": "environmental sensing",
        "service:181b": "body composition",
        "service:181d": "weight scale",
        "service:fcd2": "BTHome",
        "service:fd6f": "exposure notification",
        "service:fd98": "Disney",
        "service:fe03": "Amazon",
        "service:fe2c": "Google Fast Pair",
        "service:fe6a": "Kontakt.io",
        "service:fe95": "Xiaomi MiBeacon",
        "service:fe9a": "Estimote",
        "service:feaa": "Eddystone",
        "service:ffe1": "Minew (not assigned)",
    }
)
"""Sender, as `firmware_profiles.advert.sender_ids` names it, to its name."""


def name_of(sender: str) -> str:
    """Return the name of a sender, empty if it is not among those we know.

    Parameters
    ----------
    sender : like ``company:004c``

    Examples
    --------
    >>> name_of("service:feaa")
    'Eddystone'
    """
    return SENDERS.get(sender, "")
