"""A receiver of webhooks that behaves as it is told, and what the tests send to it."""

import asyncio
import base64
import datetime as dt
import hashlib
import ipaddress
from collections import deque
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from analytics.rows import Output
from gateway.events import Event, encode_event
from gateway.gate import Gate
from gateway.result_store import ResultStore, Step
from gateway.webhook_settings import WebhookSettings
from gateway.webhooks import Patience, Webhooks
from tests.gateway.samples import T0

SECRET_BYTES = bytes(range(40))
SECRET = "whsec_" + base64.b64encode(SECRET_BYTES).decode()
QUICK = Patience(back_off_min_s=0.002, back_off_max_s=0.01, idle_s=0.5, grace_s=0.05)


def signature_of(body: bytes, message_id: str, timestamp: str) -> str:
    """`webhook-signature` written anew, HMAC as RFC 2104 spells it out."""
    key = SECRET_BYTES.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(k ^ 0x36 for k in key))
    inner.update(b".".join((message_id.encode(), timestamp.encode(), body)))
    outer = hashlib.sha256(bytes(k ^ 0x5C for k in key) + inner.digest())
    return "v1," + base64.b64encode(outer.digest()).decode()


class Receiver:
    """A real HTTP server on loopback. `script` holds what it does with the next requests.

    A step is a status, (status, headers), or a word: "hang" (takes, never answers), "cut"
    (takes, then cuts), "drop" (cuts, takes nothing), "drip" (takes, its body never ends).
    When the script is empty it takes.
    """

    def __init__(self, script=()):
        self.script = deque(script)
        self.arrived, self.taken, self.requests, self.forged = [], [], [], 0
        self.port = 0
        self._done = asyncio.Event()
        self._runner = None

    async def start(self, ssl_context=None):
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.2)
        self._done.clear()
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=ssl_context)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def stop(self):
        self._done.set()
        await self._runner.cleanup()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/hook"

    async def _handle(self, request):
        body, headers = await request.read(), request.headers
        message_id = headers["webhook-id"]
        if (
            signature_of(body, message_id, headers["webhook-timestamp"])
            != (headers["webhook-signature"])
        ):
            self.forged += 1
        self.requests.append((request, body))
        self.arrived.append(message_id)
        step = self.script.popleft() if self.script else 204
        status, more = step if isinstance(step, tuple) else (step, {})
        if step in ("hang", "cut", "drip") or (isinstance(status, int) and status < 300):
            self.taken.append((message_id, msgspec.json.decode(body)))
        match step:
            case "hang":
                await self._done.wait()
            case "cut" | "drop":
                request.transport.abort()
            case "drip":
                answer = web.StreamResponse()
                await answer.prepare(request)
                await self._done.wait()
                return answer
        return web.Response(status=status if isinstance(status, int) else 200, headers=more)


def empty(at: int) -> Event:
    """An event about the shop; its id is `at`."""
    return Event(name="shelf.empty", id=f"e{at:06d}", t_ns=T0 + at, subject="s-1", data={"n": at})


def save(results: ResultStore, events, *, journal_id=1):
    messages = [encode_event(event, "demo") for event in events]
    results.save(Output(), Step(journal_id=journal_id, watermark_ns=None), events=messages)


def webhook(directory, receiver, **more) -> WebhookSettings:
    secret = directory / "webhook.secret"
    secret.write_text(SECRET + "\n")
    given = {
        "url": receiver.url,
        "secret_file": str(secret),
        "events": ("shelf.empty",),
        "name": "stock",
        "timeout_s": 0.2,
    }
    return WebhookSettings(**{**given, **more})


@asynccontextmanager
async def sending(results, *settings, gate=None, patience=QUICK, **more):
    """Webhooks at work."""
    hooks = Webhooks(settings, results, gate or Gate(), patience=patience, **more)
    stopping = asyncio.Event()
    task = asyncio.create_task(hooks.run(stopping))
    try:
        yield hooks
    finally:
        stopping.set()
        await task


def write_certificate(path: Path) -> Path:
    """A certificate for 127.0.0.1, signed by itself, with its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "receiver")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path
