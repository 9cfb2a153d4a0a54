"""Faults of Bluetooth, made on a private D-Bus with a stand-in of bluetoothd."""

import asyncio
import threading

import pytest

from edge.check_radio import check_radio
from simulators.bluez import BluezStandIn
from tests.edge.sources.bluez_rig import open_bus

pytestmark = [pytest.mark.system]


@pytest.fixture(scope="module")
def bus():
    with open_bus() as bus:
        yield bus


@pytest.fixture(autouse=True)
def system_bus(bus, monkeypatch):
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
    monkeypatch.setattr("edge.check_radio.ANSWER_S", 1.0)


class Service:
    """A bluetoothd in a thread of its own while a block lasts, since checks bring their loop."""

    def __init__(self, bus, *adapters, **wanted):
        self._bus, self._adapters, self._wanted = bus, adapters, wanted
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def do(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _start(self):
        self.stand_in = BluezStandIn(self._bus.address, adapters=self._adapters)
        for name, value in self._wanted.items():
            setattr(self.stand_in, name, value)
        await self.stand_in.start_service()

    def __enter__(self):
        self._thread.start()
        self.do(self._start())
        return self.stand_in

    def __exit__(self, *_):
        self.do(self.stand_in.stop_service())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def rfkill(tmp_path):
    return tmp_path


def block(folder, **values):
    entry = folder / "rfkill0"
    entry.mkdir()
    for name, value in {"type": "bluetooth", "name": "hci0", **values}.items():
        (entry / name).write_text(f"{value}\n", "ascii")


def test_an_adapter_that_is_there_and_on(bus, rfkill):
    with Service(bus, "hci0", "hci1"):
        found = check_radio("hci1", rfkill=rfkill)
    assert (True, "hci1 is there and on", "") == (found.ok, found.found, found.remedy)


def test_an_adapter_that_is_missing_says_what_is_there(bus, rfkill):
    with Service(bus, "hci0"):
        found = check_radio("hci1", rfkill=rfkill)
    assert not found.ok
    assert found.found == "there is no hci1, but hci0"
    assert "adapter = 'hci0'" in found.remedy
    with Service(bus):
        found = check_radio("hci0", rfkill=rfkill)
    assert found.found == "bluetoothd has no adapter"
    assert "plug one in" in found.remedy


@pytest.mark.parametrize(
    ("blocks", "sentence", "remedy"),
    [
        (None, "hci0 is off", "bluetoothctl power on"),
        ({"soft": 1, "hard": 0}, "blocked by rfkill", "rfkill unblock bluetooth"),
        ({"soft": 1, "hard": 1}, "blocked by a switch", "use that switch"),
        ({"type": "wlan", "soft": 1, "hard": 1}, "hci0 is off", "bluetoothctl power on"),
    ],
)
def test_an_adapter_that_is_off_is_told_and_stays_off(bus, rfkill, blocks, sentence, remedy):
    if blocks is not None:
        block(rfkill, **blocks)
    with Service(bus, "hci0") as stand_in:
        stand_in.power("hci0", on=False)
        found = check_radio("hci0", rfkill=rfkill)
        assert stand_in.calls["Set"] == 0
        assert not stand_in.adapters["hci0"].powered
    assert not found.ok
    assert sentence in found.found
    assert remedy in found.remedy


def test_no_bluetoothd(bus, rfkill):
    found = check_radio("hci0", rfkill=rfkill)
    assert (False, "bluetoothd does not run") == (found.ok, found.found)
    assert "systemctl enable --now bluetooth" in found.remedy


def test_a_bluetoothd_that_does_not_answer(bus, rfkill):
    with Service(bus, "hci0", is_hung=True):
        found = check_radio("hci0", rfkill=rfkill)
    assert (False, "bluetoothd gives no answer (no answer)") == (found.ok, found.found)
    assert "systemctl restart bluetooth" in found.remedy


def test_no_bus(rfkill, monkeypatch, tmp_path):
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/none")
    found = check_radio("hci0", rfkill=rfkill)
    assert (False, "no system D-Bus answers") == (found.ok, found.found)
    assert "dbus" in found.remedy
