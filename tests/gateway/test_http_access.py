"""Who may ask over HTTP, and where it listens."""

import socket

import pytest

from gateway.http import bind_socket
from gateway.settings import HttpSettings
from ingest.config import ConfigError
from tests.gateway.http_rig import Rig


@pytest.fixture
def rig(tmp_path):
    made = Rig(tmp_path)
    yield made
    made.results.close()


def test_on_loopback_only_names_of_this_machine_are_answered(rig):
    assert 403 == rig.get("/api/v1/summary", headers={"Host": "evil.example"})[0]
    assert 200 == rig.get("/api/v1/summary", headers={"Host": "localhost:99"})[0]
    assert 200 == rig.get("/api/v1/summary", headers={"Host": "[::1]:99"})[0]


@pytest.fixture
def open_rig(tmp_path):
    (tmp_path / "token").write_text("s3cret")
    made = Rig(tmp_path, bind="0.0.0.0", token_file=str(tmp_path / "token"))
    yield made
    made.results.close()


def test_elsewhere_the_token_is_needed(open_rig):
    assert 401 == open_rig.get("/api/v1/summary")[0]
    assert 401 == open_rig.get("/page/page.js")[0]
    assert 401 == open_rig.get("/metrics")[0]
    wrong = {"Authorization": "Bearer s3cre"}
    assert 401 == open_rig.get("/api/v1/summary", headers=wrong)[0]
    right = {"Authorization": "Bearer s3cret"}
    assert 200 == open_rig.get("/api/v1/summary", headers=right)[0]
    assert 200 == open_rig.get("/healthz")[0]


def test_a_browser_signs_in_once(open_rig):
    async def ask(client):
        seen = []
        async with client.get("/") as reply:
            seen.append((reply.status, "password" in await reply.text()))
        async with client.post("/login", data={"token": "no"}) as reply:
            seen.append(reply.status)
        async with client.post("/login", data={"token": "s3cret"}, allow_redirects=False) as reply:
            cookie = reply.cookies["fanous_session"]
            seen.append((reply.status, cookie["httponly"], cookie["samesite"]))
        session = {"Cookie": f"fanous_session={cookie.value}"}
        async with client.get("/api/v1/summary", headers=session) as reply:
            seen.append(reply.status)
        return seen

    assert [(401, True), 401, (303, True, "Strict"), 200] == open_rig.run(ask)


def test_a_port_in_use_is_refused_in_a_sentence():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port}: expected a free port"):
            bind_socket(HttpSettings(port=port))


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(ConfigError):
        bind_socket(HttpSettings(bind="192.0.2.1", port=0))
