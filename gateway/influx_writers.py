"""Writers for each kind of InfluxDB, and how the server is asked what it is.

Rules of the file: 1.x takes `/write`, 2.x and 3 take `/api/v2/write`. influxdb-client is
used synchronously with joined bytes only: its batching mode loses lines (reference
storage.md, 5). A server's refusal is judged in one place: for now, or for good. All
calls block; they run in a thread.
"""

import base64
import gzip
import json
import logging
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gateway.influx_erase import Erasure, delete_v1, delete_v2
from gateway.settings import InfluxSettings, read_secret
from ingest.config import ConfigError

_LOG = logging.getLogger(__name__)
_REFUSED_FOR_GOOD = (400, 413, 422)
_GZIP_FROM_BYTES = 1024
_DELETES_AT_ONCE = 100


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

    def erase(self, erasures: Sequence[Erasure]) -> None:
        """Delete points.

        Parameters
        ----------
        erasures : which

        Raises
        ------
        ServerAwayError
            Try again later.
        LinesRefusedError
            The server cannot delete.
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

    def erase(self, erasures: Sequence[Erasure]) -> None:
        """Delete points, one statement each."""
        database = self._settings.database or ""
        for first in range(0, len(erasures), _DELETES_AT_ONCE):
            statements = ";".join(map(delete_v1, erasures[first : first + _DELETES_AT_ONCE]))
            query = urllib.parse.urlencode({"db": database, "q": statements}).encode()
            headers = {**self._headers, "Content-Type": "application/x-www-form-urlencoded"}
            answer = _ask(self._settings, "POST", "/query", body=query, headers=headers)
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

    def erase(self, erasures: Sequence[Erasure]) -> None:
        """Delete points, one request each; 3 Core cannot."""
        for each in erasures:
            query = urllib.parse.urlencode(
                {"org": self._settings.org or "", "bucket": self._settings.bucket or ""}
            )
            headers = {**_token_header(self._settings), "Content-Type": "application/json"}
            path = f"/api/v2/delete?{query}"
            answer = _ask(self._settings, "POST", path, body=delete_v2(each), headers=headers)
            if answer.status in (404, 405, 501):
                raise LinesRefusedError(f"HTTP {answer.status}")
            _judge(answer.status, answer.headers, answer.body)

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
    # Only writes: 1.x does not unpack the form of a query.
    if body is not None and len(body) >= _GZIP_FROM_BYTES and "/write?" in path:
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
