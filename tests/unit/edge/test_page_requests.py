"""The local page's address, its requests, and the policy a browser runs it under."""

import base64
import hashlib
import re

import pytest

from holdfast_edge.page.address import Place, is_ours, place
from holdfast_edge.page.document import Document
from holdfast_edge.page.requests import BadRequest, read, wanted
from holdfast_protocol.errors import InputError


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("127.0.0.1:8470", Place("127.0.0.1", 8470)),
        ("localhost:0", Place("127.0.0.1", 0)),
        ("127.8.0.1:80", Place("127.8.0.1", 80)),
        ("[::1]:8470", Place("::1", 8470)),
        ("unix:/run/holdfast/page.sock", Place(socket="/run/holdfast/page.sock")),
    ],
)
def test_a_page_is_served_on_the_machine_itself(text: str, found: Place) -> None:
    assert place(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0:80",
        "[::]:80",
        "10.0.0.1:80",
        "press-01:80",
        "127.0.0.1",
        "127.0.0.1:99999",
        "127.0.0.1:x",
        "unix:run/x",
        ":80",
    ],
)
def test_a_page_is_served_nowhere_else(text: str) -> None:
    with pytest.raises(InputError):
        place(text)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8470", "127.0.0.1:8470", "[::1]:8470", "127.0.0.1", "[::1]"])
def test_the_machine_s_own_names_are_known(host: str) -> None:
    assert is_ours(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:8470",
        "127.0.0.1.evil.example",
        "localhost.evil.example:1",
        "10.0.0.1",
        "[::2]",
    ],
)
def test_a_name_that_somebody_made_lead_here_is_not_ours(host: str) -> None:
    assert not is_ours(host)


def asked(target: str, *, logs: bool = False) -> dict[str, object]:
    return wanted(read(f"GET {target} HTTP/1.1\r\nHost: localhost".encode()), logs=logs)


def test_a_path_with_its_words_is_a_request_to_the_agent() -> None:
    assert asked("/v1/overview") == {"do": "overview"}
    assert asked("/v1/readings?device=scale%201&limit=7") == {"do": "readings", "device": "scale 1", "limit": 7}
    assert asked("/v1/logs?resource=Pod/a&lines=9", logs=True) == {"do": "logs", "id": "Pod/a", "limit": 9}


@pytest.mark.parametrize(
    "target",
    [
        "/v1/hold",
        "/../etc/passwd",
        "/v1/logs?resource=Pod/a",
        "/v1/status?do=hold",
        "/v1/journal?limit=-1",
        "/v1/plan?x",
        "/v1/",
    ],
)
def test_nothing_else_can_be_asked_for(target: str) -> None:
    with pytest.raises(BadRequest):
        asked(target)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"GET /\r\nHost: a",
        b"GET http://evil/ HTTP/1.1\r\nHost: a",
        b"GET / HTTP/2.0",
        b"GET /\xff HTTP/1.1",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil",
        b"GET / HTTP/1.1\r\nHost : localhost",
        b"GET / HTTP/1.1\r\n folded: yes",
        b"GET / HTTP/1.1\r\nContent-Length: 5",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked",
        b"GET / HTTP/1.1\r\nA: b\rc",
    ],
)
def test_what_no_browser_sends_is_no_request(head: bytes) -> None:
    with pytest.raises(BadRequest):
        read(head)


def test_the_policy_names_the_script_and_the_style_of_the_page_and_nothing_else() -> None:
    page = Document.load()
    for tag in (b"script", b"style"):
        (content,) = re.findall(rb"<%b>(.*?)</%b>" % (tag, tag), page.html, re.DOTALL)
        assert f"'sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}'" in page.policy
    assert "unsafe" not in page.policy
    assert page.policy.startswith("default-src 'none'; ")


def test_the_page_needs_nothing_from_elsewhere_and_puts_no_text_into_markup() -> None:
    html = Document.load().html.decode()
    assert not re.findall(r"(?:src|href)=\"(?:https?:)?//", html)
    assert not re.findall(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|\son[a-z]+=\"| style=\"", html
    )
    assert 'lang="en"' in html
    assert 'name="viewport"' in html
    assert "prefers-color-scheme: dark" in html


@pytest.mark.parametrize("target", ["//[", "//[x]/", "//[::1", "//[/v1/status"])
def test_an_address_no_browser_can_split_is_refused_like_any_other(target: str) -> None:
    with pytest.raises(BadRequest):
        asked(target)
