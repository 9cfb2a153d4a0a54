"""A small store and batches for the gateway's tests."""

from pathlib import Path

from analytics.store import Product, Receiver, Sensor, Shelf, Store, TapPoint, Zone
from gateway.settings import GatewaySettings, HttpSettings, JournalSettings, MqttSettings
from ingest.batch import Batch, Columns, encode_batch

SECOND = 1_000_000_000
T0 = 1_764_000_000 * SECOND
ANNA, BEN = "p_abcdefghijklmnop", "p_qrstuvwxyz234567"

STORE_TOML = """\
schema = "fanous.store/1"
id = "demo"
timezone = "Europe/Berlin"
[[receiver]]
id = "rx-1"
position_m = [1.0, 1.0, 2.4]
[[receiver]]
id = "rx-2"
position_m = [9.0, 5.0, 2.4]
[[zone]]
id = "shoes"
kind = "aisle"
polygon_m = [[0, 0], [5, 0], [5, 6], [0, 6]]
[[zone]]
id = "promo"
kind = "promo"
polygon_m = [[5, 0], [10, 0], [10, 6], [5, 6]]
[[shelf]]
id = "shoes-1"
zone = "shoes"
[[shelf.sensor]]
id = "plate-1"
kind = "mass"
[[shelf.sensor]]
id = "eye-1"
kind = "range"
[[tap_point]]
id = "gate-1"
zone = "promo"
role = "entry"
"""

STORE = Store(
    id="demo",
    name="Demo",
    timezone="Europe/Berlin",
    outline_m=((0, 0), (10, 0), (10, 6), (0, 6)),
    receivers=(
        Receiver(id="rx-1", position_m=(1.0, 1.0, 2.4)),
        Receiver(id="rx-2", position_m=(9.0, 5.0, 2.4)),
    ),
    zones=(
        Zone(id="shoes", name="Shoes", kind="aisle", polygon_m=((0, 0), (5, 0), (5, 6), (0, 6))),
        Zone(id="promo", name="Promo", kind="promo", polygon_m=((5, 0), (10, 0), (10, 6), (5, 6))),
    ),
    shelves=(
        Shelf(
            id="shoes-1",
            zone="shoes",
            sensors=(Sensor(id="plate-1", kind="mass"), Sensor(id="eye-1", kind="range")),
            products=(
                Product(
                    gtin="04012345678901",
                    name="Runner",
                    category="running",
                    unit_g=640.0,
                    sensors=("plate-1",),
                ),
            ),
        ),
    ),
    tap_points=(TapPoint(id="gate-1", zone="promo", role="entry"),),
)


def write_store(directory: Path) -> Path:
    path = directory / "store.toml"
    path.write_text(STORE_TOML)
    return path


def settings_for(directory: Path, *, port: int = 1, **more) -> GatewaySettings:
    """Settings with a data clock, a free HTTP port and a broker on `port`."""
    (directory / "fanous.key").write_bytes(b"0123456789abcdef")
    given = {
        "store": str(write_store(directory)),
        "state_dir": str(directory / "state"),
        "clock": "data",
        "pseudonym_key_file": str(directory / "fanous.key"),
        "mqtt": MqttSettings(url=f"mqtt://127.0.0.1:{port}"),
        "http": HttpSettings(port=0),
        "journal": JournalSettings(commit_ms=20),
    }
    return GatewaySettings(**{**given, **more})


def readings(seq: int, rows, *, boot="b1", agent="pi-1", as_json=False, **more) -> bytes:
    """A batch of readings; rows are (t_ns, receiver, tag, rssi_dbm)."""
    t_ns, receiver, tag, rssi_dbm = map(list, zip(*rows, strict=True)) if rows else ([], [], [], [])
    columns = Columns(t_ns=t_ns, receiver=receiver, tag=tag, rssi_dbm=rssi_dbm)
    return _batch("ble", seq, columns, boot, agent, as_json, more)


def taps(seq: int, rows, *, boot="b1", agent="pi-1", **more) -> bytes:
    """A batch of taps; rows are (t_ns, tap_point, tag)."""
    t_ns, tap_point, tag = map(list, zip(*rows, strict=True))
    columns = Columns(t_ns=t_ns, tap_point=tap_point, tag=tag)
    return _batch("tap", seq, columns, boot, agent, False, more)


def samples(seq: int, rows, *, boot="b1", agent="pi-1", **more) -> bytes:
    """A batch of samples; rows are (t_ns, sensor, mass_g, range_mm), None where absent."""
    t_ns, sensor, mass_g, range_mm = map(list, zip(*rows, strict=True))
    columns = Columns(t_ns=t_ns, sensor=sensor, mass_g=mass_g, range_mm=range_mm)
    return _batch("sample", seq, columns, boot, agent, False, more)


def _batch(kind, seq, columns, boot, agent, as_json, more):
    batch = Batch(
        store="demo",
        agent=agent,
        boot=boot,
        kind=kind,
        seq=seq,
        sent_ns=T0,
        columns=columns,
        **more,
    )
    return encode_batch(batch, as_json=as_json)
