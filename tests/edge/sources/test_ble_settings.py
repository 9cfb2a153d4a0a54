import re
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest

import edge
from edge.sources.advert_sensors import SensorSettings
from edge.sources.ble import BleSource
from edge.sources.ble_adverts import AllowSettings
from edge.sources.ble_settings import BleSettings, read_ble_settings
from edge.sources.source import make_source
from ingest.config import ConfigError

SAMPLE = Path(edge.__file__).parent / "sample.toml"
KEYS = {"receiver", "site_beacon", "irk_file", "keys_file", "tap_point", "tap_rssi_min_dbm"}
EXAMPLES = {*KEYS, "allow", "sensor"}
SENSOR = {"address": "A4:C1:38:8D:18:B2", "sensor": "plate-1"}


def test_the_sample_documents_every_key_with_its_default(tmp_path):
    text = re.sub(r"(?m)^# ", "", SAMPLE.read_text(encoding="utf-8"))
    (table,) = [s for s in tomllib.loads(text)["source"] if s["kind"] == "ble"]
    del table["kind"]
    fields = {field.name: field.default for field in msgspec.structs.fields(BleSettings)}
    assert set(fields) == set(table)
    assert {k: v for k, v in fields.items() if k not in EXAMPLES} == {
        k: v for k, v in table.items() if k not in EXAMPLES
    }
    assert set(table["allow"]) == set(AllowSettings.__struct_fields__)
    sensors = table["sensor"]
    assert set().union(*sensors) == set(SensorSettings.__struct_fields__)
    fixed = {"address": sensors[0]["address"], "sensor": "plate-1"}
    assert SensorSettings(**fixed) == SensorSettings(**sensors[0])
    settings = read_ble_settings(table, subject="x", base=tmp_path)
    assert settings.keys_file == str(tmp_path / "keys.csv")
    assert settings.irk_file == str(tmp_path / "irks.csv")
    assert settings.allow == AllowSettings()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "receiver"),
        ({"receiver": "RX 1"}, "receiver: expected a name"),
        ({"receiver": "rx-1", "adapter": "usb0"}, "adapter: expected one like 'hci0'"),
        ({"receiver": "rx-1", "site_beacon": "band"}, "site_beacon: expected a tag"),
        ({"receiver": "rx-1", "mode": "loud"}, "mode"),
        ({"receiver": "rx-1", "watchdog": 3}, "did you mean 'watchdog_s'"),
        ({"receiver": "rx-1", "watchdog_s": 0}, "watchdog_s"),
        ({"receiver": "rx-1", "allow": {"companies": ["Apple"]}}, "companies"),
        ({"receiver": "rx-1", "allow": {"uuid": []}}, "unknown key"),
        ({"receiver": "rx-1", "irk_file": "none.csv"}, "irk_file .*none.csv: cannot be read"),
        ({"receiver": "rx-1", "keys_file": "none.csv"}, "keys_file .*none.csv: cannot be read"),
        ({"receiver": "rx-1", "tap_point": "Help 1"}, "tap_point: expected a name"),
        ({"receiver": "rx-1", "tap_rssi_min_dbm": -60}, "expected a tap_point with it"),
        ({"receiver": "rx-1", "tap_point": "a", "tap_rssi_min_dbm": -200}, "tap_rssi_min_dbm"),
        ({"receiver": "rx-1", "sensor": SENSOR}, "tables of a list are written"),
        ({"receiver": "rx-1", "sensor": [SENSOR | {"address": "plate"}]}, "address: expected one"),
        ({"receiver": "rx-1", "sensor": [SENSOR | {"sensor": "A B"}]}, "expected a name"),
        ({"receiver": "rx-1", "sensor": [SENSOR | {"value": "weight"}]}, "value"),
        ({"receiver": "rx-1", "sensor": [SENSOR | {"value": "count"}]}, "grams_per_count with"),
        ({"receiver": "rx-1", "sensor": [SENSOR | {"grams_per_count": 1.0}]}, "and only so"),
        (
            {"receiver": "rx-1", "sensor": [SENSOR | {"value": "count", "grams_per_count": 0.0}]},
            "finite number other than 0",
        ),
        ({"receiver": "rx-1", "sensor": [SENSOR | {"tare_g": float("nan")}]}, "expected grams"),
        (
            {"receiver": "rx-1", "sensor": [SENSOR | {"value": "range", "tare_g": 5.0}]},
            "none for value 'range'",
        ),
        ({"receiver": "rx-1", "sensor": [SENSOR, SENSOR | {"sensor": "b"}]}, "of a sender once"),
        (
            {"receiver": "rx-1", "sensor": [SENSOR, SENSOR | {"address": "a4:c1:38:8d:18:b3"}]},
            "each sensor",
        ),
    ],
)
def test_a_wrong_table_is_refused(tmp_path, table, message):
    with pytest.raises(ConfigError, match=message) as caught:
        make_source({"kind": "ble", **table}, subject="number 1", base=tmp_path, now_ns=lambda: 0)
    assert "\n" not in str(caught.value)


def test_without_bleak_the_table_is_refused_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr("edge.sources.ble_settings.find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match="install fanous"):
        BleSource.from_table({"receiver": "rx-1"}, subject="x", base=tmp_path, now_ns=lambda: 0)


def test_checking_a_table_loads_no_bleak_and_a_radio_no_numpy():
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from edge.sources.ble import BleSource\n"
        "BleSource.from_table({'receiver': 'rx-1'}, subject='x', base=Path(), now_ns=int)\n"
        "assert 'bleak' not in sys.modules\n"
        "import edge.sources.ble_radio\n"
        "assert 'bleak' in sys.modules\n"
        "print(sorted({'numpy', 'pyarrow', 'aiohttp'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
