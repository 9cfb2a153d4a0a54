"""A small recording for tests of the file commands: two tags walk, one taps, one picks."""

import numpy as np

from tests.ingest.small_store import STORE

T0 = 1_764_000_000_000_000_000
RECEIVERS = {"rx-1": (0.0, 0.0), "rx-2": (8.0, 0.0), "rx-3": (4.0, 6.0)}


def readings_rows(seconds=60, tags=("name:bo", "name:cleo")):
    """Return rows of readings: each tag goes from the left end to the right one."""
    rng = np.random.default_rng(7)
    rows = []
    for at, tag in enumerate(tags):
        for second in range(seconds):
            x, y = 0.5 + 7 * second / seconds, 2.0 + at
            for name, (rx, ry) in RECEIVERS.items():
                rssi = -50 - 20 * np.log10(max(np.hypot(x - rx, y - ry), 0.5)) + rng.normal(0, 2)
                t_ns = T0 + second * 10**9 + int(rng.integers(10**9))
                rows.append(f"{t_ns},{name},{tag},{rssi:.2f}")
    return rows


def survey_rows():
    rows = []
    for x in np.arange(0.5, 8, 1.0):
        for y in np.arange(0.5, 6, 1.0):
            for name, (rx, ry) in RECEIVERS.items():
                rssi = -50 - 20 * np.log10(max(np.hypot(x - rx, y - ry), 0.5))
                rows.append(f"{x},{y},,{name},{rssi:.1f},3")
    return rows


def write_lines(path, header, rows):
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def write_readings(path, rows=None):
    return write_lines(
        path, "t_ns,receiver,tag,rssi_dbm", readings_rows() if rows is None else rows
    )


def write_recording(folder):
    """Write store.toml, readings, taps, samples and survey; return the folder."""
    (folder / "store.toml").write_text(STORE, encoding="utf-8")
    write_readings(folder / "readings.csv")
    write_lines(folder / "taps.csv", "t_ns,tap_point,tag", [f"{T0},gate,name:bo"])
    samples = [f"{T0 + n * 10**8},plate-1,{6400 if n < 400 else 5760}" for n in range(600)]
    write_lines(folder / "samples.csv", "t_ns,sensor,mass_g", samples)
    write_lines(folder / "survey.csv", "x_m,y_m,z_m,receiver,rssi_dbm,count", survey_rows())
    return folder
