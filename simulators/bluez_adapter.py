"""A radio of the stand-in: its state, who scans with it, and what it has heard.

Rules of the file: state only, no messages.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from dbus_fast import Variant

ADAPTER = "org.bluez.Adapter1"
MONITORS = "org.bluez.AdvertisementMonitorManager1"
Cure = Literal["scan", "power", "service"]
Properties = dict[str, Variant]
_CURES: tuple[Cure, ...] = ("scan", "power", "service")


@dataclass(slots=True, kw_only=True)
class Adapter:
    """A radio: its state, who scans with it, and what it has heard."""

    name: str
    powered: bool = True
    scans: dict[str, bool] = field(default_factory=dict)
    """Client → whether it wants duplicates."""
    filters: dict[str, bool] = field(default_factory=dict)
    monitors: dict[tuple[str, str], list[Any]] = field(default_factory=dict)
    """(client, path) → its patterns."""
    devices: dict[str, Properties] = field(default_factory=dict)
    cure: Cure | None = None
    """What ends its deafness; None = it hears."""

    @property
    def address(self) -> str:
        """Its own address."""
        high, low = divmod(int(self.name[3:]), 256)
        return f"00:1A:7D:DA:{0x71 + high:02X}:{low:02X}"

    @property
    def path(self) -> str:
        """Its path on the bus."""
        return f"/org/bluez/{self.name}"

    def properties(self) -> dict[str, Properties]:
        """Return its interfaces with their properties."""
        main = {
            "Address": Variant("s", self.address),
            "AddressType": Variant("s", "public"),
            "Name": Variant("s", self.name),
            "Alias": Variant("s", self.name),
            "Powered": Variant("b", self.powered),
            "Discovering": Variant("b", bool(self.scans)),
            "Roles": Variant("as", ["central"]),
        }
        types = {"SupportedMonitorTypes": Variant("as", ["or_patterns"])}
        return {ADAPTER: main, MONITORS: types}

    def cure_by(self, means: Cure) -> None:
        """Let it hear again, if it is deaf and this is strong enough."""
        if self.cure is not None and _CURES.index(means) >= _CURES.index(self.cure):
            self.cure = None

    def forget_client(self, client: str) -> None:
        """End the scans of a client that left the bus."""
        self.scans.pop(client, None)
        self.filters.pop(client, None)
        for key in [key for key in self.monitors if key[0] == client]:
            del self.monitors[key]
