"""One webhook's HTTP client.

Rules of the file: one connection, which stays open; no redirects, no proxy, no cookies;
an answer's body is not read. Host names are looked up in a thread of this client's own,
so that a name server that does not answer keeps no thread from anybody else. Whatever
the network or the receiver does becomes a `Verdict`.
"""

import asyncio
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from gateway.webhook_request import Verdict, judge, signed_headers
from gateway.webhook_settings import WebhookSettings, trusted_context


class WebhookClient:
    """Posts to one receiver; an asynchronous context manager.

    Parameters
    ----------
    webhook : its table
    key : the secret's bytes
    now_ns : this machine's clock
    """

    def __init__(
        self, webhook: WebhookSettings, key: bytes, *, now_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._webhook = webhook
        self._key = key
        self._now_ns = now_ns
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Make the session; nothing is connected yet."""
        connector = aiohttp.TCPConnector(
            limit=1, ssl=trusted_context(self._webhook), resolver=_Resolver(self._webhook.id)
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=self._webhook.timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection."""
        if self._session is not None:
            await self._session.close()

    async def post(self, message_id: str, body: bytes) -> Verdict:
        """Post a message once.

        Parameters
        ----------
        message_id : its `webhook-id`
        body : JSON
        """
        assert self._session is not None
        now_s = self._now_ns() / 1e9
        headers = signed_headers(self._key, message_id, int(now_s), body)
        try:
            async with self._session.post(
                self._webhook.url, data=body, headers=headers, allow_redirects=False
            ) as response:
                return judge(response.status, response.headers, now_s)
        except TimeoutError:
            reason = f"no answer within {self._webhook.timeout_s:g} s"
        except aiohttp.ClientConnectorCertificateError:
            reason = "its certificate is not trusted"
        except (aiohttp.ClientError, OSError) as error:
            reason = f"cannot be reached: {type(error).__name__}"
        return Verdict(kind="again", reason=reason)


class _Resolver(AbstractResolver):
    """Looks names up in one thread of its own."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"names of {name}")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a host."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, _addresses, host, port, family)

    async def close(self) -> None:
        """Let the thread end when its last look-up does."""
        self._pool.shutdown(wait=False)


def _addresses(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    found = socket.getaddrinfo(
        host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
    )
    return [
        ResolveResult(
            hostname=host,
            host=str(address[0]),
            port=port,
            family=kind,
            proto=protocol,
            flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
        )
        for kind, _, protocol, _, address in found
    ]
