"""The hub's HTTP API over its Unix socket (or loopback TCP), as the commands use it."""

import http.client
import json
import os
import socket
import time
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote, urlencode

from holdfast_hub.cli import exits
from holdfast_hub.cli.exits import CliError

_CODES: Final = {400: exits.USAGE, 401: exits.DENIED, 403: exits.DENIED, 404: exits.NOT_FOUND, 409: exits.CONFLICT}
MAX_ANSWER: Final = 256 * 1024 * 1024  # bytes
CHUNK: Final = 1024 * 1024  # bytes


def default_socket() -> str:
    """Return where a hub of this user listens: the system's run folder for root, the user's otherwise."""
    if named := os.environ.get("HOLDFAST_SOCKET"):
        return named
    folder = os.environ.get("XDG_RUNTIME_DIR") if os.geteuid() else None
    return f"{folder or '/run'}/holdfast/hub.sock"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float | None) -> None:
        super().__init__("hub", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(self._path)
        except OSError:
            self.close()
            raise


class Client:
    """Every method raises CliError with the exit code that fits what went wrong."""

    def __init__(self, path: str) -> None:
        self.path = path

    def get(self, path: str, **query: str | int | None) -> Any:
        return self._ask("GET", path, None, query)

    def post(self, path: str, body: Any) -> Any:
        return self._ask("POST", path, body, {})

    def patch(self, path: str, body: Any) -> Any:
        return self._ask("PATCH", path, body, {})

    def delete(self, path: str, **query: str | int | None) -> Any:
        return self._ask("DELETE", path, None, query)

    def events(self, deadline: float) -> Iterator[dict[str, Any]]:
        """Yield the hub's events as they come, first an empty one once connected, until the stream ends or `deadline`
        (monotonic seconds) is there.
        """
        connection = self._open("GET", "/v1/events", None, max(deadline - time.monotonic(), 0.001))
        heard = connection.sock
        try:
            response = connection.getresponse()
            yield {}
            data = ""
            while (left := deadline - time.monotonic()) > 0:
                heard.settimeout(left)
                line = response.readline(1_000_000).decode()
                if not line:
                    return
                if line.startswith("data:"):
                    data += line[5:].strip()
                elif not line.strip() and data:
                    yield json.loads(data)
                    data = ""
                elif line.startswith(":"):
                    yield {}
        except (OSError, http.client.HTTPException):  # silence, or a hub that goes: the next question says so
            return
        finally:
            connection.close()

    def stream(self, path: str, **query: str | int | None) -> Iterator[bytes]:
        """Yield an answer of any length as it comes, none of it before the hub has said that there is one."""
        words = {key: value for key, value in query.items() if value is not None}
        connection = self._open("GET", f"{path}?{urlencode(words)}", None, 120)
        try:
            response = connection.getresponse()
            if response.status >= 400:
                raise _failure(response.status, json.loads(response.read(MAX_ANSWER)))
            while chunk := response.read1(CHUNK):
                yield chunk
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise self._unreachable(error) from None
        finally:
            connection.close()

    def _ask(self, method: str, path: str, body: Any, query: dict[str, str | int | None]) -> Any:
        words = {key: value for key, value in query.items() if value is not None}
        connection = self._open(method, f"{path}?{urlencode(words)}" if words else path, body, 120)
        try:
            response = connection.getresponse()
            data = response.read(MAX_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from None
        finally:
            connection.close()
        try:
            answer = json.loads(data) if data else None
        except ValueError:
            answer = {"error": {"message": data[:500].decode(errors="replace")}}
        if response.status >= 400:
            raise _failure(response.status, answer)
        return answer

    def _open(self, method: str, path: str, body: Any, timeout: float) -> http.client.HTTPConnection:
        connection = _UnixConnection(self.path, timeout)
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, path, data, {"content-type": "application/json"} if data else {})
        except OSError as error:
            raise self._unreachable(error) from None
        return connection

    def _unreachable(self, error: BaseException) -> CliError:
        if isinstance(error, PermissionError):
            return CliError(
                f"no permission on {self.path}", exits.DENIED, reason="Denied", hint="become the hub's user"
            )
        return CliError(
            f"no hub answers on {self.path}: {getattr(error, 'strerror', None) or error}",
            exits.UNREACHABLE,
            reason="Unreachable",
            hint="start one with `holdfast up`, or name its socket with --socket",
        )


def segment(text: str) -> str:
    """Return `text` as one level of a path."""
    return quote(text, safe="")


def _failure(status: int, answer: Any) -> CliError:
    error = answer.get("error", {}) if isinstance(answer, dict) else {}
    return CliError(
        str(error.get("message", f"the hub answered {status}")),
        _CODES.get(status, exits.UNREACHABLE if status == 503 else exits.NEGATIVE),
        reason=str(error.get("reason", "")),
        hint=str(error.get("hint", "")),
        problems=tuple(error.get("problems", ())),
    )
