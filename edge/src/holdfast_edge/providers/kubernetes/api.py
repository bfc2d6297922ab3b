"""The one door to a Kubernetes API server: HTTP with TLS verified, every answer bounded. Blocking: call from a thread."""

import http.client
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import msgspec

from holdfast_edge.providers.kubernetes.access import Access
from holdfast_protocol.errors import PermanentError, ProviderError, TransientError

MAX_ANSWER: Final = 8 * 1024 * 1024  # bytes
MAX_TOKEN: Final = 64 * 1024  # bytes
WITHIN: Final = 15.0  # seconds for one answer
MANAGER: Final = "holdfast"  # of the fields we apply


class Api:
    def __init__(self, access: Access) -> None:
        parts = urlsplit(access.server)
        self._access = access
        self.secure = parts.scheme == "https"
        self.host = parts.hostname or ""
        self.port = parts.port or (443 if self.secure else 80)

    def get(self, path: str) -> dict[str, Any] | None:
        """Return an object, None when it is not there."""
        return self._ask("GET", path)

    def apply(self, path: str, body: dict[str, Any], *, force: bool, dry: bool = False) -> dict[str, Any]:
        """Apply our fields of an object (server-side apply) and return it as it is then. PermanentError: FieldConflict."""
        query = {"fieldManager": MANAGER, "force": "true" if force else "false", **({"dryRun": "All"} if dry else {})}
        found = self._ask("PATCH", f"{path}?{urlencode(query)}", body, "application/apply-patch+yaml")
        if found is None:
            hint = "is its namespace there? let it come first in manifests"
            raise TransientError(f"{path}: the server has no such place", reason="NoPlace", hint=hint)
        return found

    def delete(self, path: str, uid: str) -> None:
        """Delete the object if it is still this one; gone or another one is success."""
        body: dict[str, Any] = {"propagationPolicy": "Background", "preconditions": {"uid": uid}} if uid else {}
        try:
            self._ask("DELETE", path, body, "application/json")
        except PermanentError as error:
            if error.reason != "FieldConflict":
                raise

    def context(self) -> ssl.SSLContext:
        """Return what the connection is verified by. PermanentError BadCredentials."""
        try:
            context = ssl.create_default_context(cafile=self._access.ca_file or None)
            if self._access.cert_file:
                context.load_cert_chain(self._access.cert_file, self._access.key_file)
        except (OSError, ssl.SSLError) as error:
            raise _unreadable(error) from error
        return context

    def headers(self) -> dict[str, str]:
        """Return what says who we are."""
        found = {"Accept": "application/json", "User-Agent": MANAGER}
        if self._access.token_file:
            try:
                with Path(self._access.token_file).open("rb") as file:
                    token = file.read(MAX_TOKEN).decode("ascii").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise _unreadable(error) from error
            if not token.isprintable() or " " in token:
                raise _unreadable(ValueError("the token is none"))
            found["Authorization"] = f"Bearer {token}"
        return found

    def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, kind: str = ""
    ) -> dict[str, Any] | None:
        if self.secure:
            context = self.context()
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                self.host, self.port, timeout=WITHIN, context=context
            )
        else:
            connection = http.client.HTTPConnection(self.host, self.port, timeout=WITHIN)
        headers = self.headers() | ({"Content-Type": kind} if kind else {})
        try:
            connection.request(method, path, None if body is None else msgspec.json.encode(body), headers)
            answer = connection.getresponse()
            data = answer.read(MAX_ANSWER + 1)
            status = answer.status
        except ssl.SSLCertVerificationError as error:
            hint = "name its authority in ca_file"
            raise PermanentError(
                f"the API server is not who it should be: {error.verify_message}", reason="NotTrusted", hint=hint
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise TransientError(f"{self.host}:{self.port}: {error}", reason="ApiDown") from error
        finally:
            connection.close()
        if len(data) > MAX_ANSWER:
            raise PermanentError(f"{path}: an answer of over {MAX_ANSWER} bytes", reason="TooLarge")
        if status == 404:
            return None
        if status >= 300:
            raise _typed(status, path, data)
        try:
            return msgspec.json.decode(data, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise TransientError(f"{path}: the answer is not JSON", reason="BadAnswer") from None


def _typed(status: int, path: str, data: bytes) -> ProviderError:
    try:
        said = str(msgspec.json.decode(data, type=dict[str, Any]).get("message", ""))
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = ""
    text = f"{path.partition('?')[0]}: {said[:300] or f'status {status}'}"
    match status:
        case 401:
            return TransientError(text, reason="Unauthorized", hint="is the token, or the certificate, still good?")
        case 403:
            return PermanentError(text, reason="Forbidden", hint="give the agent's account a role for it")
        case 409:
            return PermanentError(
                text, reason="FieldConflict", hint="another manager has the field: force: true takes it"
            )
        case 400 | 405 | 415 | 422:
            return PermanentError(text, reason="Refused")
        case _:
            return TransientError(text, reason="ApiBusy" if status == 429 else "ApiFailed")


def _unreadable(error: Exception) -> PermanentError:
    hint = "see providers.kubernetes in edge.toml"
    return PermanentError(
        f"what the API server knows us by cannot be read: {error}", reason="BadCredentials", hint=hint
    )
