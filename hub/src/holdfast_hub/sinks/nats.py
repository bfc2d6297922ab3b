"""Readings into a stream of NATS JetStream, each under its identity, so that what comes again within its window is left out."""

import base64
import binascii
import contextlib
import re
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

import anyio
import anyio.to_thread
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from holdfast_hub.blueprint.destinations import NATS
from holdfast_hub.sinks.outlet import MAX_WHY, NOTHING, Refusal, missing, secret, unreachable
from holdfast_hub.sinks.record import identity_of, record_of
from holdfast_hub.sinks.trust import tls_context
from holdfast_hub.store.sinks import Entry
from holdfast_protocol.errors import TransientError

WINDOW: Final = 256  # messages whose acknowledgements are awaited at once
MAX_SUBJECT: Final = 2_000  # bytes; a server ends a connection over a longer line
HEADER: Final = len("NATS/1.0\r\nNats-Msg-Id: \r\n\r\n")  # bytes that count with the body, besides the identity
# Besides its own errors the library raises what a server's nonsense, or a connection that goes in between, brings about.
_LOST: Final = (OSError, EOFError, ValueError, LookupError, AttributeError, TypeError)
_CREDENTIALS: Final = re.compile(
    r"-BEGIN NATS USER JWT-+\s+(\S+)\s.*-BEGIN USER NKEY SEED-+\s+([A-Z2-7]+)\s", re.ASCII | re.DOTALL
)
_SEED: Final = 36  # bytes of one: two that say what it is of, the key, two of a checksum
_TOO_LARGE: Final = 10_054  # JetStream: message size exceeds maximum allowed


class _Error(msgspec.Struct):
    err_code: int = 0
    description: str = ""


class _Reply(msgspec.Struct):
    """JetStream's to a message; without an error it is stored."""

    error: _Error | None = None


class _Window:
    """Messages whose replies are awaited, by the subject of the reply. `trouble`: why it cannot be told of all of them."""

    def __init__(self) -> None:
        self.awaited: set[str] = set()
        self.refusal = NOTHING
        self.trouble = ""
        self.settled = anyio.Event()

    def take(self, message: Any) -> None:
        """Note a reply; those to earlier windows say nothing any more."""
        if message.subject not in self.awaited:
            return
        self.awaited.discard(message.subject)
        if (message.headers or {}).get("Status") == "503":
            self.end("no stream takes the subject, or JetStream is not there")
            return
        try:
            error = msgspec.json.decode(message.data, type=_Reply).error
        except (msgspec.DecodeError, UnicodeDecodeError):
            error = _Error(description="an answer that is none")
        if error is not None and error.err_code != _TOO_LARGE:
            self.end(f"{error.description} ({error.err_code})")
        elif error is not None:
            self.refusal += Refusal(1, error.description)
        if not self.awaited:
            self.settled.set()

    def end(self, trouble: str) -> None:
        self.trouble = self.trouble or trouble[:MAX_WHY]
        self.settled.set()


class NATSOutlet:
    """INVARIANTS: one connection, not mended by the library: after any trouble it is made anew."""

    def __init__(self, name: str, wanted: NATS) -> None:
        """Raises PermanentError `NoDriver` without the extra it needs."""
        try:
            import nats.aio.client
            import nats.errors
        except ImportError as error:
            raise missing("nats-py", "nats") from error
        self._nats = nats
        self._name = name
        self._wanted = wanted
        self._client: Any = None  # nats.aio.client.Client once there is one
        self._inbox = ""
        self._serial = 0
        self._window = _Window()
        self._trouble: Exception | None = None  # what the library said last, and does not raise

    async def send(self, entries: Sequence[Entry]) -> Refusal:
        refusal = NOTHING
        try:
            with anyio.fail_after(self._wanted.timeout_seconds):
                await self._connect()
            for start in range(0, len(entries), WINDOW):
                with anyio.fail_after(self._wanted.timeout_seconds):
                    refusal += await self._publish(entries[start : start + WINDOW])
        except (self._nats.errors.Error, TimeoutError, *_LOST) as error:
            hidden = self._trouble if isinstance(error, self._nats.errors.NoServersError) else None
            raise unreachable(hidden or error, ", ".join(self._wanted.servers)) from error
        return refusal

    async def _publish(self, entries: Sequence[Entry]) -> Refusal:
        self._window = window = _Window()
        for entry in entries:
            subject, identity = subject_of(self._wanted.subject, entry), identity_of(entry)
            body = msgspec.json.encode(record_of(entry))
            if len(subject) > MAX_SUBJECT or HEADER + len(identity) + len(body) > self._client.max_payload:
                window.refusal += Refusal(1, f"{identity}: too large for the server, or its subject too long")
                continue
            self._serial += 1
            reply = f"{self._inbox}.{self._serial}"
            window.awaited.add(reply)
            await self._client.publish(subject, body, reply=reply, headers={"Nats-Msg-Id": identity})
        if window.awaited or window.trouble:
            await window.settled.wait()
        if window.trouble:
            raise TransientError(window.trouble, reason="Refused")
        return window.refusal

    async def _connect(self) -> None:
        if self._client is not None:
            return
        wanted = self._wanted
        words: dict[str, Any] = {}
        if wanted.token_file:
            token = await secret(wanted.token_file)
            words["token"] = lambda: self._only_secured(token)
        if wanted.username:
            password = await secret(wanted.password_file)
            words["user"], words["password"] = wanted.username, lambda: self._only_secured(password)
        if wanted.credentials_file:
            words |= callbacks_of(await secret(wanted.credentials_file), wanted.credentials_file)
        if self._secured:
            words["tls"] = await anyio.to_thread.run_sync(tls_context, wanted.tls)
        self._client = self._nats.aio.client.Client()
        await self._client.connect(
            list(wanted.servers),
            name=f"holdfast sink {self._name}",
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=wanted.timeout_seconds,
            error_cb=self._on_error,
            disconnected_cb=self._on_loss,
            **words,
        )
        self._only_secured("")
        self._inbox = self._client.new_inbox()
        await self._client.subscribe(f"{self._inbox}.*", cb=self._on_reply)

    @property
    def _secured(self) -> bool:
        return self._wanted.tls is not None or any(each.startswith("tls:") for each in self._wanted.servers)

    def _only_secured(self, text: str) -> str:
        """Return a credential; the library asks for it once TLS stands, or in the clear when the server wants no TLS."""
        if self._secured and not self._client._server_info.get("tls_required"):
            raise self._nats.errors.SecureConnWantedError
        return text

    async def _on_reply(self, message: Any) -> None:
        self._window.take(message)

    async def _on_error(self, error: Exception) -> None:
        self._trouble = error

    async def _on_loss(self) -> None:
        self._window.end("the connection was lost")

    async def close(self) -> None:
        held, self._client = self._client, None
        if held is not None:
            with contextlib.suppress(self._nats.errors.Error, *_LOST):  # it is let go in any case
                await held.close()


def subject_of(template: str, entry: Entry) -> str:
    """Return the subject of a reading: what could end a token, or stand for several, is percent-encoded."""
    one = entry.series
    values = {"site": one.site, "node": one.node, "device": one.device, "metric": one.metric, "stream": entry.stream}
    return template.format_map({key: _token(value) for key, value in values.items()})


def callbacks_of(credentials: str, path: str) -> dict[str, Any]:
    """Return what the library asks, of a file of credentials: a token, and a nonce signed with the key that belongs to it.

    Ours, because the library's reader of a file without a token never ends. Raises TransientError: somebody may mend it.
    """
    found = _CREDENTIALS.search(credentials)
    try:
        raw = base64.b32decode(found[2] + "=" * (-len(found[2]) % 8)) if found else b""
    except ValueError:
        raw = b""
    if not found or len(raw) != _SEED or binascii.crc_hqx(raw[:-2], 0).to_bytes(2, "little") != raw[-2:]:
        raise TransientError(f"{path} holds no token and key of a NATS user", reason="NoSecret")
    token, key = found[1].encode(), Ed25519PrivateKey.from_private_bytes(raw[2:34])
    return {
        "user_jwt_cb": lambda: token,
        "signature_cb": lambda nonce: base64.b64encode(key.sign(nonce.encode())),
    }


def _token(text: str) -> str:
    """Return a text as one token; `%` alone is the empty one."""
    return quote(text, safe="").replace(".", "%2E").replace("~", "%7E") or "%"
