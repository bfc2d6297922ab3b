"""An operator of NATS: accounts and users whose tokens it signed, as `nsc` makes them."""

import base64
import binascii
import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

OPERATOR, ACCOUNT, USER, SEED = 14 << 3, 0, 20 << 3, 18 << 3  # prefixes, read as letters: O, A, U, S
UNBOUNDED = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf", "streams", "consumer"), -1)


class Identity:
    """A key of one kind. `name` is its public half."""

    def __init__(self, kind: int) -> None:
        self.key = Ed25519PrivateKey.generate()
        self._kind = kind
        self.name = _nkey(bytes([kind]) + self.key.public_key().public_bytes_raw())

    @property
    def seed(self) -> str:
        return _nkey(bytes([SEED | self._kind >> 5, (self._kind & 31) << 3]) + self.key.private_bytes_raw())

    def token(self, subject: "Identity", kind: str, **claims: Any) -> str:
        """Return what this one says of another, signed."""
        said = {"jti": kind, "iat": 1, "iss": self.name, "name": kind, "sub": subject.name}
        said["nats"] = {**claims, "type": kind, "version": 2}
        text = f"{_encoded({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{_encoded(said)}"
        return f"{text}.{_base64(self.key.sign(text.encode()))}"


class Operator:
    """One account for JetStream, one for the system; `configuration` is for the server, `credentials` for a client."""

    def __init__(self) -> None:
        self._operator, self._account, self._system = Identity(OPERATOR), Identity(ACCOUNT), Identity(ACCOUNT)
        room = {"mem_storage": 1 << 20, "disk_storage": 1 << 26, "wildcards": True}
        account = self._operator.token(self._account, "account", limits={**UNBOUNDED, **room})
        system = self._operator.token(self._system, "account", limits={**UNBOUNDED, "wildcards": True})
        self.configuration = (
            f"operator: {self._operator.token(self._operator, 'operator', system_account=self._system.name)}\n"
            f"resolver: MEMORY\nsystem_account: {self._system.name}\n"
            f"resolver_preload: {{ {self._account.name}: {account}\n {self._system.name}: {system} }}"
        )

    def credentials(self) -> str:
        """Return the file of a new user."""
        user = Identity(USER)
        token = self._account.token(user, "user", pub={}, sub={}, subs=-1, data=-1, payload=-1)
        return (
            f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
        )


def _nkey(raw: bytes) -> str:
    return base64.b32encode(raw + binascii.crc_hqx(raw, 0).to_bytes(2, "little")).decode().rstrip("=")


def _encoded(said: dict[str, Any]) -> str:
    return _base64(json.dumps(said).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
