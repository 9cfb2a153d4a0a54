"""`fanous edge calibrate` as its own process, over pseudo-terminals."""

import signal
import subprocess
import sys
import tomllib

import pytest

from edge.sources.serial_port import close_port, open_port
from edge.sources.serial_settings import SerialPortSettings
from simulators.serial_ports import ModbusBus, SerialPorts
from tests.edge.calibrate_rig import BRIDGE, HEAD, Plate, Session

pytestmark = [pytest.mark.system]


def configured(folder, text=BRIDGE):
    (folder / "edge.toml").write_text(text, "utf-8")
    return folder


def guided(folder, plate, *words, mass_g=500):
    """Answer as an engineer does, and return the ended session's result."""
    with Session(folder, "--json", *words) as session:
        session.hears("empty the plate")
        session.answers()
        session.hears("g on the plate")
        plate.mass_g = mass_g
        session.answers()
        return session.result()


def test_tare_and_span_of_a_bridge_are_found_written_and_verified(tmp_path):
    configured(tmp_path)
    with Plate(tmp_path) as plate:
        found = guided(tmp_path, plate, "--mass-g", "500", "--write")
    assert found["counts_per_g"] == pytest.approx(420.5, rel=1e-3)
    assert found["tare_g"] == pytest.approx(80_000 / 420.5, abs=0.5)
    assert found["noise"] == pytest.approx(20 / 420.5, rel=0.6)
    assert found["verified"] is True
    assert found["verified_value"] == pytest.approx(500, abs=5)
    text = (tmp_path / "edge.toml").read_text("utf-8")
    assert f"counts_per_g = {found['counts_per_g']} # to be found\n" in text
    assert "# the shop\n" in text
    assert "[[source.port]]  # by the door\n" in text
    port = tomllib.loads(text)["source"][0]["port"][0]
    assert (found["counts_per_g"], found["tare_g"]) == (port["counts_per_g"], port["tare_g"])
    assert (tmp_path / "edge.toml.bak").read_text("utf-8") == BRIDGE
    assert sorted(p.name for p in tmp_path.iterdir()) == ["edge.toml", "edge.toml.bak"]


def test_an_earlier_calibration_is_replaced_only_by_force(tmp_path):
    calibrated = BRIDGE.replace("counts_per_g = 1.0", "counts_per_g = 99.5")
    configured(tmp_path, calibrated)
    with Plate(tmp_path) as plate:
        with Session(tmp_path, "--mass-g", "500", "--write") as session:
            code, _, said = session.ends()
        assert (code, "say --force" in said) == (2, True)
        assert (tmp_path / "edge.toml").read_text("utf-8") == calibrated
        guided(tmp_path, plate, "--mass-g", "500", "--write", "--force")
    assert "counts_per_g = 420." in (tmp_path / "edge.toml").read_text("utf-8")
    assert (tmp_path / "edge.toml.bak").read_text("utf-8") == calibrated


def test_without_write_the_lines_are_printed_and_nothing_is_changed(tmp_path):
    configured(tmp_path)
    with Plate(tmp_path) as plate, Session(tmp_path) as session:
        session.hears("empty the plate")
        session.answers()
        session.hears("how many grams")
        session.answers("heavy")
        session.hears("expected a number above 0")
        plate.mass_g = 250
        session.answers("250")
        session.hears("put 250 g on the plate")
        session.answers()
        code, out, _ = session.ends()
    assert code == 0
    table = tomllib.loads(out)
    assert table["counts_per_g"] == pytest.approx(420.5, rel=2e-3)
    assert (tmp_path / "edge.toml").read_text("utf-8") == BRIDGE


def test_yes_notices_the_mass_by_itself(tmp_path):
    configured(tmp_path)
    with Plate(tmp_path) as plate:
        with Session(
            tmp_path, "--yes", "--mass-g", "100", "--json", stdin=subprocess.DEVNULL
        ) as session:
            session.hears("put 100 g on the plate")
            plate.mass_g = 100
            found = session.result()
        assert found["counts_per_g"] == pytest.approx(420.5, rel=5e-3)
        plate.mass_g = 0
        words = ("--yes", "--mass-g", "100", "--wait-s", "0.6")
        with Session(tmp_path, *words, stdin=subprocess.DEVNULL) as session:
            code, _, said = session.ends()
    assert (code, "nothing was put on the plate within 0.6 s" in said) == (1, True)


def test_lines_from_a_file_are_answers_too(tmp_path):
    configured(tmp_path, BRIDGE.replace("counts_per_g = 1.0", "counts_per_g = 420.5"))
    (tmp_path / "answers").write_text("\n", "utf-8")
    with (
        Plate(tmp_path),
        (tmp_path / "answers").open() as stdin,
        Session(tmp_path, "--tare-only", "--json", stdin=stdin) as session,
    ):
        found = session.result()
    assert found["tare_g"] == pytest.approx(80_000 / 420.5, abs=0.5)
    assert found["toml"] == [f"tare_g = {found['tare_g']}"]


@pytest.mark.parametrize("end", ["eof", "interrupt"])
def test_who_leaves_changes_nothing(tmp_path, end):
    configured(tmp_path)
    with Plate(tmp_path), Session(tmp_path, "--mass-g", "500", "--write") as session:
        session.hears("empty the plate")
        session.answers()
        session.hears("g on the plate")
        if end == "interrupt":
            session.process.send_signal(signal.SIGINT)
        code, out, said = session.ends(close=end == "eof")
    assert (code, out) == (130, "")
    assert "Traceback" not in said
    assert (tmp_path / "edge.toml").read_text("utf-8") == BRIDGE
    assert not (tmp_path / "edge.toml.bak").exists()


def test_unplugged_in_between(tmp_path):
    configured(tmp_path)
    with Plate(tmp_path) as plate:
        with Session(tmp_path, "--mass-g", "500", "--write") as session:
            session.hears("empty the plate")
            session.answers()
            session.hears("g on the plate")
            plate.port.unplug()
            session.answers()
            code, _, said = session.ends()
        assert code == 1
        assert "bridge is not there; plug it in" in said
        with Session(tmp_path, "--mass-g", "500") as session:
            code, _, said = session.ends()
        assert (code, "bridge is not there" in said) == (1, True)
    assert (tmp_path / "edge.toml").read_text("utf-8") == BRIDGE


def test_a_port_in_use(tmp_path):
    configured(tmp_path)
    with Plate(tmp_path):
        settings = SerialPortSettings(path=str(tmp_path / "bridge"), profile="x", baud=115200)
        line = open_port(settings)
        try:
            with Session(tmp_path, "--mass-g", "500") as session:
                code, _, said = session.ends()
        finally:
            close_port(line)
    assert (code, "is in use by another program; end what uses it: fuser -v" in said) == (1, True)


def test_a_plate_that_wobbles_is_refused_and_said_so(tmp_path):
    configured(tmp_path)
    with Plate(tmp_path) as plate:
        plate.drift = 5000
        with Session(tmp_path, "--mass-g", "500") as session:
            session.hears("empty the plate")
            session.answers()
            session.hears("the value wobbles: it drifts by +")
            code, _, said = session.ends(close=False)
    assert code == 1
    assert said.count("wobbles") == 4


@pytest.mark.parametrize(
    ("per_g", "raw", "code", "sentence"),
    [
        (0.05, None, 1, "the span is too small: 500 g changed the value by"),
        (-420.5, None, 0, "A+ and A−"),
        (420.5, 0x7FFFFF, 1, "the amplifier is at its end"),
    ],
)
def test_what_is_wrong_with_the_wires(tmp_path, per_g, raw, code, sentence):
    configured(tmp_path)
    with Plate(tmp_path, per_g=per_g) as plate, Session(tmp_path, "--mass-g", "500") as session:
        session.hears("empty the plate")
        session.answers()
        session.hears("g on the plate")
        plate.mass_g, plate.raw = 500, raw
        session.answers()
        found, out, said = session.ends()
    assert found == code
    assert sentence in out + said


def test_a_wrong_baud_and_a_silent_line(tmp_path):
    configured(tmp_path)
    with Plate(tmp_path, profile="mt_sics"), Session(tmp_path, "--mass-g", "5") as session:
        session.hears("empty the plate")
        session.answers()
        code, _, said = session.ends(close=False)
    assert code == 1
    assert "not one good message; wrong baud? profile hx711_bridge says 115200" in said


def test_one_cell_of_several_and_a_scale_in_grams(tmp_path):
    configured(
        tmp_path,
        HEAD + '[[source]]\nkind = "serial"\n[[source.port]]\npath = "bridge"\n'
        'profile = "hx711_bridge"\n[[source.port.channel]]\nchannel = 0\nsensor = "plate-1"\n'
        '[[source.port.channel]]\nchannel = 3\nsensor = "plate-2"\n'
        '[[source.port]]\npath = "scale"\nprofile = "mt_sics"\nsensor = "scale-1"\n',
    )
    with Plate(tmp_path) as plate:
        plate.channel = 3
        with Session(tmp_path, "--json", "--write", "--mass-g", "500") as session:
            session.hears("3  scale-1")
            session.answers("plate-9")
            session.hears("expected 1 to 3 or an id")
            session.answers("2")
            session.hears("empty the plate")
            session.answers()
            session.hears("g on the plate")
            plate.mass_g = 500
            session.answers()
            found = session.result()
    ports = tomllib.loads((tmp_path / "edge.toml").read_text("utf-8"))["source"][0]["port"]
    assert ports[0]["channel"][0] == {"channel": 0, "sensor": "plate-1"}
    assert ports[0]["channel"][1]["counts_per_g"] == found["counts_per_g"]
    (tmp_path / "bridge").unlink(missing_ok=True)
    configured(
        tmp_path,
        HEAD + '[[source]]\nkind = "serial"\n[[source.port]]\npath = "bridge"\n'
        'profile = "mt_sics"\nsensor = "scale-1"\n',
    )
    with Plate(tmp_path, empty=12.5, per_g=1.1, noise=0, profile="mt_sics") as plate:
        found = guided(tmp_path, plate, "--mass-g", "500", "--write")
    assert found["toml"] == ["tare_g = 12.5"]
    assert "the scale itself is wrong by +50 g at 500 g" in found["warnings"][0]
    assert 'sensor = "scale-1"\ntare_g = 12.5\n' in (tmp_path / "edge.toml").read_text("utf-8")


def test_registers_of_a_modbus_transmitter_and_of_a_range_sensor(tmp_path):
    configured(
        tmp_path,
        HEAD + '[[source]]\nkind = "serial"\n[[source.port]]\npath = "rs485"\n'
        'profile = "modbus_rtu_load_cell"\npoll_ms = 20\n'
        '[[source.port.poll]]\nsensor = "plate-4"\nunit = 1\n'
        '[[source.port.poll]]\nsensor = "range-1"\nunit = 80\naddress = 52\ncount = 1\n'
        "counts_per_mm = 1.0\n",
    )
    with SerialPorts(tmp_path) as ports:
        bus = ModbusBus(ports.registry)
        bus.put(1, 0, -200)
        bus.put(80, 52, 1230, words=1)
        ports.open("rs485", bus)
        with Session(
            tmp_path, "--sensor", "plate-4", "--json", "--mass-g", "50", "--write"
        ) as session:
            session.hears("empty the plate")
            session.answers()
            session.hears("g on the plate")
            bus.put(1, 0, 300)
            session.answers()
            found = session.result()
        assert (10.0, -20.0) == (found["counts_per_g"], found["tare_g"])
        assert found["verified_value"] == pytest.approx(50)
        with Session(
            tmp_path, "--sensor", "range-1", "--json", "--distance-mm", "300", "--write"
        ) as session:
            session.hears("put a flat surface 300 mm away")
            session.answers()
            found = session.result()
        assert (4.1, 300) == (found["counts_per_mm"], found["verified_value"])
    polls = tomllib.loads((tmp_path / "edge.toml").read_text("utf-8"))["source"][0]["port"][0]
    assert [(10.0, -20.0), (4.1, None)] == [
        (poll.get("counts_per_g", poll.get("counts_per_mm")), poll.get("tare_g"))
        for poll in polls["poll"]
    ]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--sensor", "plate-9"), "there is no 'plate-9' on a serial line (did you mean 'plate-1'"),
        (("--port", "door"), "there is no 'door' with this sensor"),
        (("--yes",), "expected --mass-g with it"),
        (("--distance-mm", "5"), "measures a mass: expected --mass-g"),
        (("--mass-g", "-3"), "expected a number above 0"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_starts(tmp_path, words, sentence):
    configured(tmp_path)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "fanous", "edge", "calibrate"),
            *("-c", str(tmp_path / "edge.toml"), *words),
        ],
        capture_output=True,
        check=False,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=30,
    )
    assert (2, "") == (done.returncode, done.stdout)
    assert sentence in done.stderr
