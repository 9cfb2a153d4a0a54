import base64
import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from gateway.settings import check_settings, read_settings
from gateway.webhook_settings import WebhookSettings, check_webhooks, signing_key
from ingest.config import ConfigError
from tests.gateway.samples import settings_for, write_store
from tests.gateway.webhook_rig import SECRET, SECRET_BYTES

SAMPLE = Path(__file__).parents[2] / "gateway" / "sample.toml"
TABLE = """
[[webhook]]
url = "https://shop.example/hook"
secret_file = "webhook.secret"
events = ["shelf.empty", "queue.long"]
"""


def _read(directory, more):
    write_store(directory)
    (directory / "fanous.key").write_bytes(b"0123456789abcdef")
    (directory / "webhook.secret").write_text(SECRET)
    path = directory / "gateway.toml"
    path.write_text(
        'store = "store.toml"\nstate_dir = "state"\npseudonym_key_file = "fanous.key"\n' + more
    )
    return read_settings(path)


def test_a_table_is_read_with_its_defaults_and_absolute_paths(tmp_path):
    (found,) = _read(tmp_path, TABLE).webhook
    assert str(tmp_path / "webhook.secret") == found.secret_file
    assert (10.0, 10_000, False) == (found.timeout_s, found.queue_max, found.allow_http)
    assert ("shelf.empty", "queue.long") == found.events
    assert found.id.startswith("shop.example-")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("queue.long", "queue.lang", "no event 'queue.lang' (did you mean 'queue.long'?)"),
        ('["shelf.empty", "queue.long"]', "[]", "at least one"),
        ("webhook.secret", "fanous.key", "whsec_"),
        ("webhook.secret", "none.secret", "none.secret"),
        ("https://shop", "http://shop", "allow_http"),
        ("https://shop", "ftp://shop", "https://host/path"),
        ("https://shop.example/hook", "https://", "https://host/path"),
        ("https://shop.example", "https://u:hidden@shop.example", "without user and password"),
        ("https://shop.example", "https://shop.example:99999", "cannot be parsed"),
        ("events =", 'name = "No Name"\nevents =', "a-z0-9"),
        ("events =", 'ca_file = "fanous.key"\nevents =', "PEM"),
        ("events =", "timeout_s = 0\nevents =", "timeout_s"),
        ("events =", "queue_max = 0\nevents =", "queue_max"),
        ("events =", "ewents =", "did you mean 'events'"),
    ],
)
def test_a_wrong_table_is_refused_in_a_sentence(tmp_path, old, new, words):
    with pytest.raises(ConfigError) as error:
        _read(tmp_path, TABLE.replace(old, new))
    assert words in str(error.value)
    assert "hidden" not in str(error.value)


def test_two_of_one_name_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="its own name"):
        _read(tmp_path, TABLE + TABLE)
    assert 2 == len(_read(tmp_path, TABLE + TABLE.replace("url", 'name = "b"\nurl')).webhook)


@pytest.mark.parametrize("host", ["127.0.0.1:9", "[::1]:9", "localhost"])
def test_plain_http_is_for_this_machine(tmp_path, host):
    (tmp_path / "s").write_text(SECRET)
    settings = WebhookSettings(
        url=f"http://{host}/", secret_file=str(tmp_path / "s"), events=("shelf.low",)
    )
    check_settings(settings_for(tmp_path, webhook=(settings,)))


def test_plain_http_elsewhere_needs_a_word(tmp_path):
    _read(tmp_path, TABLE.replace("https://", "http://") + "allow_http = true\n")


@pytest.mark.parametrize(
    "text",
    [
        SECRET.removeprefix("whsec_"),
        "whsec_",
        "whsec_!!!",
        "whsec_" + base64.b64encode(bytes(23)).decode(),
        "whsec_" + base64.b64encode(bytes(65)).decode(),
    ],
)
def test_a_wrong_secret_is_refused_and_not_shown(text):
    with pytest.raises(ConfigError) as error:
        signing_key(text, subject="x")
    assert "whsec_" in str(error.value)
    assert not text.removeprefix("whsec_") or text.removeprefix("whsec_") not in str(error.value)


def test_a_secret_is_its_bytes():
    assert SECRET_BYTES == signing_key(SECRET, subject="x")


def test_the_sample_has_every_key_with_its_default():
    text = re.sub(r"(?m)^# ", "", SAMPLE.read_text())
    (given,) = tomllib.loads(text)["webhook"]
    assert {field.name for field in msgspec.structs.fields(WebhookSettings)} == set(given)
    for field in msgspec.structs.fields(WebhookSettings):
        if field.default is not msgspec.NODEFAULT and field.default is not None:
            assert field.default == given[field.name]
    check_webhooks([msgspec.convert({**given, "ca_file": None}, WebhookSettings)])
