"""The HTTP server: live page, API, metrics, health.

Rules of the file: contract section 8. On a loopback address reading is open, for
names of this machine only (so that no foreign page reads it by DNS rebinding);
anywhere else the token is needed, as a bearer or as the session cookie that the
sign-in form sets. Errors are problem+json (RFC 9457). Pages load nothing from
outside (Content-Security-Policy). Streams end when the server stops.
"""

import asyncio
import hmac
import logging
import re
import secrets
import socket
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol

import msgspec
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from gateway.http_rows import LISTS, BadQueryError, Raster, read_list
from gateway.live import LiveHub
from gateway.metrics import CONTENT_TYPE, Metric, exposition
from gateway.result_store import ResultStore
from gateway.settings import HttpSettings, is_loopback, read_secret
from ingest.config import ConfigError

_LOG = logging.getLogger(__name__)
PAGE_DIR = Path(__file__).parent / "page"
POLICY = (
    "default-src 'self'; base-uri 'none'; object-src 'none'; "
    "frame-ancestors 'none'; form-action 'self'"
)
CONTENT_TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".json": "application/json",
    ".woff2": "font/woff2",
    ".txt": "text/plain",
}
_FILE_NAME = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)+")
_HEARTBEAT_S = 15.0
_SESSIONS_MAX = 64
_OPEN_PATHS = ("/healthz", "/readyz", "/login")
_SIGN_IN = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>fanous: sign in</title>'
    '<form method="post" action="/login"><label>Token <input type="password" name="token" '
    'autocomplete="current-password" required></label> <button>Sign in</button></form></html>'
)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Source(Protocol):
    """What the server shows of the service."""

    def store_json(self) -> dict[str, Any]:
        """Return the object of ``/api/v1/store``."""
        ...

    def summary(self) -> dict[str, Any]:
        """Return the object of ``/api/v1/summary``."""
        ...

    def metrics(self) -> list[Metric]:
        """Return all metrics."""
        ...

    def not_ready(self) -> list[str]:
        """Return what is missing until the service is ready; empty = ready."""
        ...


def bind_socket(settings: HttpSettings) -> socket.socket:
    """Take the address before anything else starts.

    Parameters
    ----------
    settings : the ``[http]`` table

    Raises
    ------
    ConfigError
        The port is in use, or the address is not of this machine.
    """
    where = f"{settings.bind}:{settings.port}"
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            settings.bind, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, proto)
    except OSError as error:
        raise ConfigError(
            f"[http] bind {where}: expected an address of this machine ({error})"
        ) from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(128)
        bound.setblocking(False)
    except OSError as error:
        bound.close()
        raise ConfigError(
            f"[http] {where}: expected a free port, got '{error.strerror}'; "
            "stop what uses it or choose another port"
        ) from error
    return bound


class HttpServer:
    """Serves one `Source`.

    Parameters
    ----------
    settings : the ``[http]`` table
    source : the service
    results : for the lists
    hub : for the live stream
    """

    def __init__(
        self, settings: HttpSettings, source: Source, results: ResultStore, hub: LiveHub
    ) -> None:
        self._source = source
        self._results = results
        self._hub = hub
        self._is_loopback = is_loopback(settings.bind)
        self._token = (
            read_secret(Path(settings.token_file), subject="[http] token_file")
            if settings.token_file
            else None
        )
        self._sessions: dict[str, None] = {}
        self._runner: web.AppRunner | None = None

    async def start(self, bound: socket.socket) -> None:
        """Begin to serve.

        Parameters
        ----------
        bound : of `bind_socket`
        """
        app = web.Application(middlewares=[self._guard], client_max_size=64 * 1024)
        app.router.add_get("/", self._index)
        app.router.add_get("/page/{file}", self._page_file)
        app.router.add_post("/login", self._login)
        app.router.add_get("/api/v1/store", self._store)
        app.router.add_get("/api/v1/live", self._live)
        app.router.add_get("/api/v1/summary", self._summary)
        for name in (*LISTS, "transitions", "heatmap"):
            app.router.add_get(f"/api/v1/{name}", self._list_handler(name))
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._health)
        app.router.add_get("/readyz", self._ready)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
        await self._runner.setup()
        await web.SockSite(self._runner, bound).start()

    async def stop(self) -> None:
        """End the streams and stop serving."""
        self._hub.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            refused = self._refuse(request)
            response = refused if refused is not None else await handler(request)
        except web.HTTPException as error:
            response = problem(error.status, error.reason)
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
        except BadQueryError as error:
            response = problem(400, str(error))
        except Exception:
            _LOG.exception("a request failed")
            response = problem(500, "something is wrong here; the log of the gateway says what")
        if not response.prepared:
            response.headers.setdefault("Content-Security-Policy", POLICY)
            response.headers.setdefault("X-Content-Type-Options", "nosniff")
            response.headers.setdefault("Referrer-Policy", "no-referrer")
            response.headers.setdefault("Cache-Control", "no-store")
        return response

    def _refuse(self, request: web.Request) -> web.StreamResponse | None:
        if request.path in _OPEN_PATHS:
            return None
        if self._is_loopback:
            host = request.host.rpartition(":")[0] if ":" in request.host else request.host
            if not is_loopback(host.strip("[]")):
                return problem(403, "expected a Host header that names this machine (localhost)")
            return None
        if self._is_signed_in(request):
            return None
        if request.path == "/":
            return web.Response(status=401, text=_SIGN_IN, content_type="text/html")
        return problem(401, "expected the token: Authorization: Bearer …, or sign in at /")

    def _is_signed_in(self, request: web.Request) -> bool:
        if request.cookies.get("fanous_session", "") in self._sessions:
            return True
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        return kind.lower() == "bearer" and self._is_token(given.strip())

    def _is_token(self, given: str) -> bool:
        return self._token is not None and hmac.compare_digest(
            given.encode(errors="replace"), self._token.encode()
        )

    async def _login(self, request: web.Request) -> web.StreamResponse:
        try:
            form = await request.post()
        except (ValueError, LookupError, HttpProcessingError) as error:
            raise BadQueryError("expected a form with the field 'token'") from error
        if not self._is_token(str(form.get("token", ""))):
            return web.Response(status=401, text=_SIGN_IN, content_type="text/html")
        session = secrets.token_urlsafe(32)
        while len(self._sessions) >= _SESSIONS_MAX:
            del self._sessions[next(iter(self._sessions))]
        self._sessions[session] = None
        response = web.Response(status=303, headers={"Location": "/"})
        response.set_cookie(
            "fanous_session", session, httponly=True, samesite="Strict", max_age=12 * 3600
        )
        return response

    async def _index(self, _request: web.Request) -> web.StreamResponse:
        return await asyncio.to_thread(_file_response, "index.html")

    async def _page_file(self, request: web.Request) -> web.StreamResponse:
        return await asyncio.to_thread(_file_response, request.match_info["file"])

    async def _store(self, _request: web.Request) -> web.StreamResponse:
        return _json(self._source.store_json())

    async def _summary(self, _request: web.Request) -> web.StreamResponse:
        return _json(await asyncio.to_thread(self._source.summary))

    async def _metrics(self, _request: web.Request) -> web.StreamResponse:
        body = exposition(await asyncio.to_thread(self._source.metrics))
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})

    async def _health(self, _request: web.Request) -> web.StreamResponse:
        return _json({"ok": True})

    async def _ready(self, _request: web.Request) -> web.StreamResponse:
        missing = self._source.not_ready()
        if missing:
            return problem(503, "; ".join(missing))
        return _json({"ok": True})

    def _list_handler(self, name: str) -> Handler:
        plan = self._source.store_json()
        raster = Raster(
            cell_m=plan["cell_m"],
            tick_s=plan["tick_s"],
            floor=plan["floors"][0]["id"],
        )

        async def answer(request: web.Request) -> web.StreamResponse:
            query = dict(request.query)
            page = await asyncio.to_thread(read_list, self._results, name, query, raster)
            if query.get("format") != "csv":
                return web.Response(
                    body=page.as_json(request.path), content_type="application/json"
                )
            response = web.Response(body=page.as_csv(), content_type="text/csv", charset="utf-8")
            if page.next_query:
                response.headers["Link"] = f'<{request.path}?{page.next_query}>; rel="next"'
            return response

        return answer

    async def _live(self, request: web.Request) -> web.StreamResponse:
        last_seen = request.headers.get("Last-Event-ID", "")
        queue = self._hub.join(int(last_seen) if last_seen.isdecimal() else None)
        if queue is None:
            return problem(503, "too many watch the live stream; try again later")
        try:
            response = web.StreamResponse(
                headers={
                    "Content-Type": "text/event-stream",
                    "Cache-Control": "no-store",
                    "X-Content-Type-Options": "nosniff",
                    "X-Accel-Buffering": "no",
                }
            )
            await response.prepare(request)
            await response.write(b"retry: 1000\n\n")
            await _pump(queue, response)
        except ConnectionResetError:
            pass  # the watcher has left
        finally:
            self._hub.leave(queue)
        return response


def problem(status: int, detail: str) -> web.Response:
    """Return an error as RFC 9457 has it.

    Parameters
    ----------
    status : of HTTP
    detail : a sentence for the reader
    """
    body = {"type": "about:blank", "title": _title(status), "status": status, "detail": detail}
    return web.Response(
        status=status,
        body=msgspec.json.encode(body),
        content_type="application/problem+json",
        headers={"WWW-Authenticate": "Bearer"} if status == 401 else None,
    )


async def _pump(queue: "asyncio.Queue[bytes | None]", response: web.StreamResponse) -> None:
    while True:
        try:
            frame = await asyncio.wait_for(queue.get(), _HEARTBEAT_S)
        except TimeoutError:
            frame = b": still here\n\n"
        if frame is None:
            return
        await response.write(frame)


def _json(body: Any) -> web.Response:  # noqa: ANN401
    return web.Response(body=msgspec.json.encode(body), content_type="application/json")


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def _file_response(name: str) -> web.Response:
    kind = CONTENT_TYPES.get(Path(name).suffix)
    path = PAGE_DIR / name
    if not _FILE_NAME.fullmatch(name) or kind is None or not path.is_file():
        return problem(404, "there is no such file")
    charset = "utf-8" if kind.startswith(("text/", "image/svg", "application/json")) else None
    return web.Response(body=path.read_bytes(), content_type=kind, charset=charset)
