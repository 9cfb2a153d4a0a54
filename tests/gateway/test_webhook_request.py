import base64
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from gateway.webhook_request import judge, signed_headers


def test_the_signature_is_that_of_the_published_example():
    # The example of the signature in the documents of Standard Webhooks' reference libraries.
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed_headers(
        key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" == headers["webhook-signature"]
    assert "msg_p5jXN8AQM9LWM0D4loKWxJek" == headers["webhook-id"]
    assert "1614265330" == headers["webhook-timestamp"]


@pytest.mark.parametrize(
    ("status", "kind"),
    [(200, "taken"), (202, "taken"), (299, "taken"), (410, "gone")]
    + [(status, "again") for status in (301, 304, 307, 408, 425, 429, 500, 502, 503, 599)]
    + [(status, "refused") for status in (400, 401, 403, 404, 409, 413, 422, 499)],
)
def test_what_a_status_means(status, kind):
    assert kind == judge(status, {}, 0.0).kind


@pytest.mark.parametrize(
    ("status", "expected"), [(500, True), (501, True), (502, False), (503, False), (429, False)]
)
def test_only_an_error_of_the_receivers_own_is_about_the_event(status, expected):
    assert expected is judge(status, {}, 0.0).is_about_event


def test_retry_after_is_a_number_or_a_date_or_nothing():
    now_s = 1_764_000_000.0
    later = format_datetime(datetime.fromtimestamp(now_s + 90, UTC), usegmt=True)
    earlier = format_datetime(datetime.fromtimestamp(now_s - 90, UTC), usegmt=True)
    for text, expected in (
        ("120", 120.0),
        ("0", 0.0),
        (later, 90.0),
        (earlier, 0.0),
        ("soon", None),
        ("-3", None),
        ("1.5", None),
        ("²", None),
        ("9" * 400, 999_999_999.0),
    ):
        assert expected == judge(429, {"Retry-After": text}, now_s).retry_after_s, text
    assert judge(429, {}, now_s).retry_after_s is None
