"""What the calibration tests share: a plate on a pseudo-terminal, and a session at it."""

import json
import queue
import random
import subprocess
import sys
import threading
import time

from simulators.serial_ports import SerialPorts

HEAD = (
    '# the shop\nstore = "demo"\nagent = "pi-1"\nstate_dir = "state"\nidentity = "raw"\n'
    '[mqtt]\nurl = "mqtt://127.0.0.1:9"\n'
)
BRIDGE = HEAD + (
    '[[source]]\nkind = "serial"\n[[source.port]]  # by the door\npath = "bridge"\n'
    'profile = "hx711_bridge"\nsensor = "plate-1"\ncounts_per_g = 1.0 # to be found\n'
)


class Plate:
    """A load cell in raw counts that speaks 50 times a second while a block lasts."""

    def __init__(self, folder, *, empty=80_000, per_g=420.5, noise=20.0, profile="hx711_bridge"):
        self.ports = SerialPorts(folder)
        self.port = self.ports.open("bridge")
        self.empty, self.per_g, self.noise, self.profile = empty, per_g, noise, profile
        self.mass_g, self.drift, self.channel = 0.0, 0.0, 0
        self.raw = None
        self._random = random.Random(7)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._speak)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        self.ports.close()

    def _speak(self):
        began = time.monotonic()
        while not self._stop.wait(0.02):
            value = self.empty + self.mass_g * self.per_g + self._random.gauss(0, self.noise)
            value += self.drift * (time.monotonic() - began)
            if self.raw is None and self.profile == "hx711_bridge":
                fields = {"channel": self.channel, "raw_counts": round(value)}
            elif self.raw is None:
                fields = {"stable": True, "mass_g": round(value, 1)}
            else:
                fields = {"channel": self.channel, "raw_counts": self.raw}
            try:
                self.port.send(self.ports.registry.encode(self.profile, fields))
            except OSError:  # unplugged between two lines
                continue


class Session:
    """``fanous edge calibrate`` as a process, with its questions and our answers."""

    def __init__(self, folder, *words, stdin=subprocess.PIPE):
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "fanous", "edge", "calibrate"),
                *("-c", str(folder / "edge.toml"), "--seconds", "0.4", *words),
            ],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said = []
        self._lines = queue.Queue()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self._thread.join()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def _read(self):
        for line in self.process.stderr:
            self._lines.put(line.rstrip("\n"))

    def hears(self, text):
        """Wait until a line with this text was said."""
        deadline = time.monotonic() + 20
        while True:
            line = self._lines.get(timeout=max(deadline - time.monotonic(), 0.01))
            self.said.append(line)
            if text in line:
                return

    def answers(self, text=""):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def ends(self, *, close=True):
        """Return exit code, stdout and all that was said."""
        if close and self.process.stdin is not None and not self.process.stdin.closed:
            self.process.stdin.close()
        code = self.process.wait(20)
        self._thread.join()
        while not self._lines.empty():
            self.said.append(self._lines.get())
        return code, self.process.stdout.read(), "\n".join(self.said)

    def result(self):
        code, out, said = self.ends()
        assert code == 0, said
        return json.loads(out)
