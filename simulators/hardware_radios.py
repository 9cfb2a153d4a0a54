"""The radios of a simulated shop: one adapter for each receiver, on a private D-Bus.

Rules of the file: what hears is the stand-in of bluetoothd, so a packet counts as heard
when an adapter scans and is told of it; nothing is merged here (a real kernel filters
repeated adverts, reference page ``bluez.md``). A sender that is not heard for `FORGET_S`
is forgotten, as bluetoothd does; the shop's own beacon is heard by all once a second.
"""

import time
from collections.abc import Callable

from firmware_profiles.registry import Registry
from ingest.config import ConfigError
from simulators.bluez import BluezStandIn
from simulators.hardware_bytes import SITE_ADDRESS, Adverts, adapter_of
from simulators.private_bus import PrivateBus

FORGET_S = 30.0  # bluetoothd's TemporaryTimeout, BlueZ 5 src/main.conf
ADAPTERS_MOST = 1000  # names of adapters have three digits
_SITE_DBM = -60


class BusRadios:
    """Adapters ``hci0``, ``hci1`` … on a bus of their own.

    Parameters
    ----------
    bus : the private bus
    registry : of the profiles
    receivers : how many adapters
    clock_s : [s] a clock that only goes forward

    Raises
    ------
    ConfigError
        More than `ADAPTERS_MOST`.
    """

    def __init__(
        self,
        bus: PrivateBus,
        registry: Registry,
        receivers: int,
        *,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        if receivers > ADAPTERS_MOST:
            raise ConfigError(
                f"store: expected at most {ADAPTERS_MOST} receivers for the stand-in of BlueZ, "
                f"got {receivers}"
            )
        self._names = tuple(map(adapter_of, range(receivers)))
        self._adverts = Adverts(registry)
        self._clock_s = clock_s
        self._heard_s: dict[tuple[str, str], float] = {}
        self.stand_in = BluezStandIn(bus.address, adapters=self._names)

    async def open(self) -> None:
        """Take the name of bluetoothd."""
        await self.stand_in.start_service()

    async def close(self) -> None:
        """Leave the bus."""
        await self.stand_in.stop_service()

    @property
    def missing(self) -> int:
        """How many adapters do not scan."""
        return sum(
            not (adapter.scans or adapter.monitors) for adapter in self.stand_in.adapters.values()
        )

    async def hear(self, receiver: int, tag: str, rssi_dbm: int) -> bool:
        """Let an adapter hear a wristband.

        Parameters
        ----------
        receiver : index of the store's receiver
        tag : of the simulation
        rssi_dbm : [dBm] how strong

        Returns
        -------
        heard : false when it does not scan
        """
        address, data = self._adverts.of_band(tag)
        return await self._hear(self._names[receiver], address, rssi_dbm, data)

    async def pass_second(self) -> None:
        """Send the shop's beacon, and forget who was not heard for long."""
        for name in self._names:
            await self._hear(name, SITE_ADDRESS, _SITE_DBM, self._adverts.of_site)
        before_s = self._clock_s() - FORGET_S
        for name, address in [key for key, at_s in self._heard_s.items() if at_s < before_s]:
            del self._heard_s[name, address]
            path = f"{self.stand_in.adapters[name].path}/dev_{address.replace(':', '_')}"
            await self.stand_in.remove_device(name, path)

    async def _hear(self, name: str, address: str, rssi_dbm: int, data: bytes) -> bool:
        if not await self.stand_in.advertise(name, address, rssi_dbm, data, kind="random"):
            return False
        self._heard_s[name, address] = self._clock_s()
        return True
