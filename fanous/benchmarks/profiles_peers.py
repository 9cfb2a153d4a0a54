"""Adverts by other decoders: bleparser and bthome-ble, each in its own idiom.

Rules of the file: a peer is asked only for the adverts that it decodes here, and we
decode the same ones beside it, so that nobody is quick by refusing. bleparser gets the
whole HCI event and walks the structures itself, as we do; bthome-ble gets what its users
give it, the service data that bleak has cut out already, which spares it the walk, and
makes richer objects than we do (units, names for people). Its filter of repeated packets
is put back before each, since the same adverts come again and again here. A package that
is not installed is left out (``make bench-decoders`` installs both).
"""

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from firmware_profiles.advert import MANUFACTURER, SERVICE_DATA16, ad_structures, local_name

RSSI_DBM = -60
_HEADER = {"packet", "type", "firmware", "data", "rssi", "mac", "manufacturer"}
"""What bleparser says of every advert: no measurement."""

Decode = Callable[[], bool]
"""Decodes one advert and tells whether anything came of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Somebody else's decoder.

    Attributes
    ----------
    needs : packages
    prepare : makes of adverts and the sender's address one call each, not measured
    """

    needs: tuple[str, ...]
    prepare: Callable[[Sequence[bytes], str], list[Decode]]

    def missing(self) -> tuple[str, ...]:
        """Return the packages that are not installed."""
        return tuple(name for name in self.needs if importlib.util.find_spec(name) is None)


def understood(calls: Sequence[Decode]) -> list[int]:
    """Return which adverts a peer decodes.

    Parameters
    ----------
    calls : one for each advert

    Returns
    -------
    places : of those of which anything came; an exception is none
    """
    return [place for place, call in enumerate(calls) if _is_understood(call)]


def _is_understood(call: Decode) -> bool:
    try:
        return call()
    except Exception:
        return False


def _bleparser(adverts: Sequence[bytes], address: str) -> list[Decode]:
    parse = importlib.import_module("bleparser").BleParser().parse_raw_data
    sender = bytes.fromhex(address.replace(":", ""))[::-1]

    def call_of(advert: bytes) -> Decode:
        inner = b"\x02\x01\x00\x00" + sender + bytes((len(advert),)) + advert
        event = b"\x04\x3e" + bytes((len(inner) + 1,)) + inner + bytes((RSSI_DBM & 0xFF,))

        def call() -> bool:
            sensor, tracker = parse(event)
            return bool((sensor or tracker or {}).keys() - _HEADER)

        return call

    return [call_of(advert) for advert in adverts]


def _bthome_ble(adverts: Sequence[bytes], address: str) -> list[Decode]:
    make_parser = importlib.import_module("bthome_ble").BTHomeBluetoothDeviceData

    def call_of(advert: bytes) -> Decode:
        info, parser = _service_info(advert, address), make_parser()

        def call() -> bool:
            parser.packet_id = None
            found = parser.update(info)
            return bool(found.events or found.binary_entity_values or len(found.entity_values) > 1)

        return call if parser.supported(info) else lambda: False

    return [call_of(advert) for advert in adverts]


def _service_info(advert: bytes, address: str) -> Any:  # noqa: ANN401 - the peer's own type
    """Return an advert as bleak gives it to its users: cut into its parts."""
    parts = ad_structures(advert) or []
    return importlib.import_module("habluetooth").BluetoothServiceInfoBleak(
        name=local_name(advert) or address,
        address=address,
        rssi=RSSI_DBM,
        manufacturer_data={
            int.from_bytes(data[:2], "little"): data[2:]
            for kind, data in parts
            if kind == MANUFACTURER
        },
        service_data={
            f"0000{data[1]:02x}{data[0]:02x}-0000-1000-8000-00805f9b34fb": data[2:]
            for kind, data in parts
            if kind == SERVICE_DATA16
        },
        service_uuids=[],
        source="local",
        device=importlib.import_module("bleak.backends.device").BLEDevice(address, None, None),
        advertisement=None,
        connectable=False,
        time=0.0,
        tx_power=None,
        raw=None,
    )


PEERS: dict[str, Peer] = {
    "bleparser": Peer(needs=("bleparser",), prepare=_bleparser),
    "bthome-ble": Peer(needs=("bthome_ble", "habluetooth"), prepare=_bthome_ble),
}
