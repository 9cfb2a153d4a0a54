"""A webhook's request, signed, and what its answer means.

Rules of the file: pure functions. Standard Webhooks 1.0: the header `webhook-signature`
is ``v1,`` and the base64 of HMAC-SHA256 over ``id.timestamp.body``; `webhook-id` is the
same whenever a message is sent again, `webhook-timestamp` [s] is that of the attempt.
Answers as that document and RFC 9110 give them meaning: 2xx taken; 410 wants no more;
408, 425, 429, 5xx and redirects (which are not followed) again later; any other refuses
this event for good.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Literal

CONTENT_TYPE = "application/cloudevents+json; charset=UTF-8"
_AGAIN = (408, 425, 429)
_RECEIVER_AWAY = (502, 503, 504)
"""Said by what stands before a receiver: tells nothing about the event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of an attempt.

    `reason` is short and without the receiver's own words; `is_about_event`: a server error
    that this event may be the cause of.
    """

    kind: Literal["taken", "again", "refused", "gone"]
    reason: str = ""
    retry_after_s: float | None = None
    is_about_event: bool = False


def signed_headers(key: bytes, message_id: str, at_s: int, body: bytes) -> dict[str, str]:
    """Return a request's headers.

    Parameters
    ----------
    key : the secret's bytes
    message_id : stable
    at_s : [s since 1970] this machine's clock now
    body : what is sent
    """
    signed = f"{message_id}.{at_s}.".encode() + body
    digest = hmac.new(key, signed, hashlib.sha256).digest()
    return {
        "Content-Type": CONTENT_TYPE,
        "User-Agent": "fanous-gateway",
        "webhook-id": message_id,
        "webhook-timestamp": str(at_s),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def judge(status: int, headers: Mapping[str, str], now_s: float) -> Verdict:
    """Return what an answer means.

    Parameters
    ----------
    status : HTTP
    headers : names in any case, as aiohttp's mapping finds them
    now_s : [s since 1970] this machine's clock

    Examples
    --------
    >>> judge(204, {}, 0.0).kind, judge(503, {"Retry-After": "7"}, 0.0).retry_after_s
    ('taken', 7.0)
    >>> judge(410, {}, 0.0).kind, judge(404, {}, 0.0).kind
    ('gone', 'refused')
    """
    reason = f"HTTP {status}"
    if 200 <= status < 300:
        return Verdict(kind="taken")
    if status == 410:
        return Verdict(kind="gone", reason=reason)
    if status in _AGAIN or status >= 500 or status < 400:
        if 300 <= status < 400:
            reason += ", a redirect, which is not followed: put the new address into url"
        return Verdict(
            kind="again",
            reason=reason,
            retry_after_s=_retry_after_s(headers.get("Retry-After"), now_s),
            is_about_event=status >= 500 and status not in _RECEIVER_AWAY,
        )
    return Verdict(kind="refused", reason=reason)


def _retry_after_s(text: str | None, now_s: float) -> float | None:
    """Return the seconds of a Retry-After header: a number or a date (RFC 9110, 10.2.3)."""
    if text is None or not text.isascii():
        return None
    if text.strip().isdigit():
        return float(text.strip()[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now_s)
    except (ValueError, OverflowError, OSError):
        return None
