"""A small InfluxDB 2.x in front of an influxd 1.6: `/api/v2/write`, `/ping`, `/health`.

It checks the token, maps the bucket to a database of the same name and passes lines on
as they are, so that influxdb-client writes to a real storage engine.
"""

import contextlib
import http.server
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

VERSION = "v2.7.12"


class Relay(http.server.ThreadingHTTPServer):
    """Counts requests; `answers` holds statuses to give instead of passing on."""

    daemon_threads = True

    def __init__(self, influxd_port: int, token: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.influxd = f"http://127.0.0.1:{influxd_port}"
        self.token = token
        self.answers: list[int] = []
        self.writes: list[tuple[int, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Relay

    def do_GET(self):
        path = urlsplit(self.path).path
        if path == "/ping":
            self._answer(204)
        elif path == "/health":
            self._answer(200, json.dumps({"status": "pass", "version": VERSION}).encode())
        else:
            self._answer(404)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path != "/api/v2/write":
            self._answer(404)
        elif self.headers.get("Authorization") != f"Token {self.server.token}":
            self._answer(401, b'{"code":"unauthorized"}')
        elif self.server.answers:
            self._note(self.server.answers.pop(0), query)
        else:
            self._note(self._pass_on(body, query), query)

    def _pass_on(self, body, query):
        url = f"{self.server.influxd}/write?db={query['bucket']}&precision={query['precision']}"
        headers = {
            name: self.headers[name] for name in ("Content-Encoding",) if name in self.headers
        }
        try:
            request = urllib.request.Request(url, data=body, headers=headers)
            with urllib.request.urlopen(request, timeout=10) as reply:
                return reply.status
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    def _note(self, status, query):
        query = {**query, "encoding": self.headers.get("Content-Encoding", "")}
        self.server.writes.append((status, query))
        self._answer(status, b"" if status == 204 else b'{"message":"field type conflict"}')

    def _answer(self, status, body=b""):
        self.send_response(status)
        self.send_header("X-Influxdb-Version", VERSION)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if status != 204:
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def relay(influxd_port: int, token: str = "t0ken") -> Iterator[Relay]:
    """The relay on a free port."""
    server = Relay(influxd_port, token)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
