"""HTTP POSTs to a destination: bounded in time and in what is read of an answer, in a thread of the sink's own."""

import http.client
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import msgspec

from holdfast_hub.blueprint.destinations import TLS
from holdfast_hub.sinks.outlet import unreachable
from holdfast_hub.sinks.trust import tls_context
from holdfast_protocol.errors import TransientError
from holdfast_protocol.runtime.clock import Clock

MAX_ANSWER: Final = 64 * 1024  # bytes read of an answer
LONGEST: Final = 300.0  # seconds an answer may ask us to wait
AT_ONCE: Final = 2  # threads of one sink: one that was left waiting for a dead host, and its successor


class Answer(msgspec.Struct, frozen=True):
    """`after`: seconds it asks us to wait, 0.0 when it does not."""

    status: int
    after: float
    body: bytes

    @property
    def taken(self) -> bool:
        return 200 <= self.status < 300

    def refusal(self) -> TransientError:
        """Return the error for an answer that says: not now."""
        said = self.body[:200].decode("ascii", "backslashreplace")
        return TransientError(f"answered {self.status}: {said}", reason="Refused", after=self.after)


class Poster:
    """One connection a request: what lies between may drop idle ones, and a batch is worth one."""

    def __init__(self, tls: TLS | None, timeout: float, clock: Clock) -> None:
        self._tls = tls
        self._timeout = timeout
        self._clock = clock
        self._limiter = anyio.CapacityLimiter(AT_ONCE)

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> Answer:
        """Return what was answered. Raises TransientError when nothing was."""
        headers = {"user-agent": "holdfast", **headers}
        try:
            with anyio.fail_after(self._timeout):  # a socket's own is for each part of an answer, however small
                return await anyio.to_thread.run_sync(
                    self._ask, url, body, headers, abandon_on_cancel=True, limiter=self._limiter
                )
        except (OSError, http.client.HTTPException, ValueError) as error:  # of hosts and headers that cannot be
            where = url.partition("://")[2].partition("/")[0]
            raise unreachable(error, where) from error

    def _ask(self, url: str, body: bytes, headers: dict[str, str]) -> Answer:
        parts = urlsplit(url)
        host = parts.hostname or ""
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            context = tls_context(self._tls)
            connection = http.client.HTTPSConnection(host, parts.port, timeout=self._timeout, context=context)
        else:
            connection = http.client.HTTPConnection(host, parts.port, timeout=self._timeout)
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("POST", target, body, headers)
            answer = connection.getresponse()
            return Answer(answer.status, self._after(answer.getheader("retry-after", "")), answer.read(MAX_ANSWER))
        finally:
            connection.close()

    def _after(self, text: str) -> float:
        """Return the seconds of a Retry-After, which is a number of them or a date (RFC 9110, 10.2.3)."""
        if text.isascii() and text.isdigit():
            return min(float(text[:9]), LONGEST)
        try:
            return min(max(parsedate_to_datetime(text).timestamp() - self._clock.wall(), 0.0), LONGEST)
        except (ValueError, OverflowError):
            return 0.0
