"""The InfluxDB sink: queued lines to whichever server answers.

Rules of the file: the queue is in the result store, durable and bounded; a request is
repeated until the server has taken it (writing a line again changes nothing), with
back-off and with the server's own Retry-After; what the server refuses for good is
found by halving the batch and set aside, so one bad line costs only itself. The
server is asked what it is: 1.x takes `/write`, 2.x and 3 take `/api/v2/write`.
influxdb-client is used synchronously with joined bytes only: its batching mode loses
lines (reference storage.md, 5). All calls block; they run in a thread.
"""

import base64
import gzip
import json
import logging
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gateway.result_store import ResultStore
from gateway.settings import InfluxSettings, read_secret
from ingest.config import ConfigError

_LOG = logging.getLogger(__name__)
IDLE_S = 1.0
BACK_OFF_MIN_S = 1.0
BACK_OFF_MAX_S = 60.0
RETRY_AFTER_MAX_S = 600.0
_REFUSED_FOR_GOOD = (400, 413, 422)
_GZIP_FROM_BYTES = 1024


class ServerAwayError(ConnectionError):
    """The server did not take a request now; try again after `retry_after_s` or back off."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class LinesRefusedError(ValueError):
    """The server will never take this request as it is."""


class Writer(Protocol):
    """Writes joined lines to one kind of server."""

    name: str

    def write(self, body: bytes) -> None:
        """Write lines.

        Parameters
        ----------
        body : lines joined by line breaks

        Raises
        ------
        ServerAwayError
            Try again later.
        LinesRefusedError
            Something in them is wrong.
        """
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What an HTTP server said."""

    status: int
    headers: dict[str, str]
    body: bytes


class InfluxSink:
    """Takes lines from the result store to the server, oldest first.

    Parameters
    ----------
    settings : the ``[influxdb]`` table
    results : where the lines wait
    """

    def __init__(self, settings: InfluxSettings, results: ResultStore) -> None:
        self._settings = settings
        self._results = results
        self._writer: Writer | None = None
        self._back_off_s = BACK_OFF_MIN_S
        self._told_away = False
        self.requests = 0

    @property
    def server(self) -> str | None:
        """What the server was found to be, None while it has not answered."""
        return self._writer.name if self._writer else None

    def flush_once(self) -> float:
        """Write one batch; return the seconds to wait before the next call, 0 = at once.

        Raises nothing that a server can cause.
        """
        up_to_id, body, count = self._results.next_lines(self._settings.batch_lines)
        if not count:
            return IDLE_S
        try:
            if self._writer is None:
                self._writer = choose_writer(self._settings)
                _LOG.info("InfluxDB found (%s)", self._writer.name)
            refused: list[tuple[bytes, str]] = []
            self._write(self._writer, body.split(b"\n"), refused)
        except ServerAwayError as error:
            return self._wait_for_server(error)
        self._results.lines_sent(up_to_id, count - len(refused), refused)
        if refused:
            _LOG.warning(
                "InfluxDB refused %d of %d lines for good; they are set aside", len(refused), count
            )
        if self._told_away:
            self._told_away = False
            _LOG.info("InfluxDB recovered")
        self._back_off_s = BACK_OFF_MIN_S
        return 0.0

    def close(self) -> None:
        """Let go of connections."""
        if self._writer is not None:
            self._writer.close()

    def _write(self, writer: Writer, lines: list[bytes], refused: list[tuple[bytes, str]]) -> None:
        self.requests += 1
        try:
            writer.write(b"\n".join(lines))
        except LinesRefusedError as error:
            if len(lines) == 1:
                refused.append((lines[0], str(error)[:300]))
                return
            half = len(lines) // 2
            self._write(writer, lines[:half], refused)
            self._write(writer, lines[half:], refused)

    def _wait_for_server(self, error: ServerAwayError) -> float:
        if not self._told_away:
            self._told_away = True
            _LOG.warning("InfluxDB takes nothing now (%s); lines wait on disk", error)
        if self._writer is not None:
            self._writer.close()
            self._writer = None  # it may come back as another version
        wait_s = self._back_off_s
        self._back_off_s = min(2 * self._back_off_s, BACK_OFF_MAX_S)
        if error.retry_after_s is not None:
            return min(error.retry_after_s, RETRY_AFTER_MAX_S)
        return wait_s


def choose_writer(settings: InfluxSettings) -> Writer:
    """Ask the server what it is and return the writer for it.

    Parameters
    ----------
    settings : the ``[influxdb]`` table

    Raises
    ------
    ServerAwayError
        It does not answer, or it answers as a version whose keys are not configured.
    """
    try:
        return _choose(settings, _probe(settings))
    except ConfigError as error:  # a secret's file has gone since the start
        raise ServerAwayError(str(error)) from error


def _choose(settings: InfluxSettings, version: str) -> Writer:
    if version.startswith("1."):
        if settings.database is None:
            raise ServerAwayError(
                f"it answers as {version}: expected [influxdb] database, got only bucket"
            )
        return _WriteV1(settings, version)
    if settings.bucket is None or settings.token_file is None:
        raise ServerAwayError(
            f"it answers as {version}: expected [influxdb] bucket and token_file for this version"
        )
    return _WriteV2(settings, version)


def _probe(settings: InfluxSettings) -> str:
    """Return the version, from the header of ``/ping`` or the body of ``/health``."""
    ping = _ask(settings, "GET", "/ping", headers=_token_header(settings))
    version = ping.headers.get("x-influxdb-version", "")
    if not version:
        health = _ask(settings, "GET", "/health", headers=_token_header(settings))
        try:
            read = json.loads(health.body)
        except ValueError:
            read = {}
        version = str(read.get("version") or "") if isinstance(read, dict) else ""
    return version.lstrip("v") or ("2 or later" if settings.token_file else "1.x")


class _WriteV1:
    """``/write`` of 1.x: user and password, the database is made when missing."""

    def __init__(self, settings: InfluxSettings, version: str) -> None:
        self.name = f"InfluxDB {version}, /write"
        self._settings = settings
        self._headers: dict[str, str] = {}
        if settings.username is not None and settings.password_file is not None:
            password = read_secret(Path(settings.password_file), subject="[influxdb] password_file")
            pair = base64.b64encode(f"{settings.username}:{password}".encode()).decode()
            self._headers["Authorization"] = f"Basic {pair}"
        self._has_database = False

    def write(self, body: bytes) -> None:
        """Write lines, making the database first if need be."""
        if not self._has_database:
            self._make_database()
        database = urllib.parse.quote(self._settings.database or "", safe="")
        answer = _ask(
            self._settings,
            "POST",
            f"/write?db={database}&precision=ns",
            body=body,
            headers=self._headers,
        )
        if answer.status == 404:
            self._has_database = False
            raise ServerAwayError("the database has gone")
        _judge(answer.status, answer.headers, answer.body)

    def close(self) -> None:
        """Nothing is kept open."""

    def _make_database(self) -> None:
        name = (self._settings.database or "").replace("\\", "\\\\").replace('"', '\\"')
        query = urllib.parse.urlencode({"q": f'CREATE DATABASE "{name}"'}).encode()
        headers = {**self._headers, "Content-Type": "application/x-www-form-urlencoded"}
        answer = _ask(self._settings, "POST", "/query", body=query, headers=headers)
        if answer.status in (401, 403):
            # An ordinary user may not make databases but may write to one that is there.
            _LOG.info("InfluxDB user may not create databases; expecting it to exist")
        elif answer.status != 200:
            _judge(answer.status, answer.headers, answer.body)
        self._has_database = True


class _WriteV2:
    """``/api/v2/write`` of 2.x, Cloud and 3, through influxdb-client."""

    def __init__(self, settings: InfluxSettings, version: str) -> None:
        from influxdb_client.client.influxdb_client import InfluxDBClient
        from influxdb_client.client.write_api import SYNCHRONOUS

        self.name = f"InfluxDB {version}, /api/v2/write"
        self._settings = settings
        token = read_secret(Path(settings.token_file or ""), subject="[influxdb] token_file")
        self._client = InfluxDBClient(
            url=settings.url,
            token=token,
            org=settings.org or "",
            timeout=round(settings.timeout_s * 1000),
            enable_gzip=True,
        )
        self._api = self._client.write_api(write_options=SYNCHRONOUS)

    def write(self, body: bytes) -> None:
        """Write lines."""
        from influxdb_client.rest import ApiException
        from urllib3.exceptions import HTTPError

        try:
            self._api.write(
                bucket=self._settings.bucket or "", org=self._settings.org or "", record=body
            )
        except ApiException as error:
            headers = {name.lower(): value for name, value in dict(error.headers or {}).items()}
            text = error.body if isinstance(error.body, bytes) else str(error.body).encode()
            _judge(int(error.status or 0), headers, text)
        except (HTTPError, OSError) as error:
            raise ServerAwayError(type(error).__name__) from error

    def close(self) -> None:
        """Close the client's connections."""
        self._api.close()  # type: ignore[no-untyped-call]
        self._client.close()  # type: ignore[no-untyped-call]


def _judge(status: int, headers: dict[str, str], body: bytes) -> None:
    if 200 <= status < 300:
        return
    if status in _REFUSED_FOR_GOOD:
        raise LinesRefusedError(_reason(status, body))
    try:
        retry_after_s: float | None = max(0.0, float(headers.get("retry-after", "")))
    except ValueError:
        retry_after_s = None
    raise ServerAwayError(f"HTTP {status}", retry_after_s=retry_after_s)


def _reason(status: int, body: bytes) -> str:
    """Return the server's reason without the lines it may quote (they can hold pseudonyms)."""
    text = body.decode(errors="replace").lower()
    known = ("field type conflict", "unable to parse", "retention policy", "partial write")
    found = next((words for words in known if words in text), "refused")
    return f"HTTP {status}: {found}"


def _token_header(settings: InfluxSettings) -> dict[str, str]:
    if settings.token_file is None:
        return {}
    token = read_secret(Path(settings.token_file), subject="[influxdb] token_file")
    return {"Authorization": f"Token {token}"}


def _ask(
    settings: InfluxSettings,
    method: str,
    path: str,
    *,
    body: bytes | None = None,
    headers: dict[str, str],
) -> Answer:
    send = dict(headers)
    if body is not None and len(body) >= _GZIP_FROM_BYTES:
        body = gzip.compress(body, compresslevel=1)
        send["Content-Encoding"] = "gzip"
    request = urllib.request.Request(  # noqa: S310 (the scheme is checked with the settings)
        settings.url.rstrip("/") + path, data=body, headers=send, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=settings.timeout_s) as reply:  # noqa: S310
            return Answer(
                status=reply.status,
                headers={name.lower(): value for name, value in reply.headers.items()},
                body=reply.read(1 << 16),
            )
    except urllib.error.HTTPError as error:
        with error:
            return Answer(
                status=error.code,
                headers={name.lower(): value for name, value in error.headers.items()},
                body=error.read(1 << 16),
            )
    except OSError as error:
        reason = getattr(error, "reason", None) or error
        raise ServerAwayError(f"cannot be reached: {type(reason).__name__}") from error
