"""Owners and groups a resource may name: by number, or by a name its machine knows."""

import re
from typing import Final

from holdfast_protocol.errors import WireError

_ACCOUNT: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\$?")


def check_account(field: str, account: str | int) -> None:
    """Raise WireError InvalidSpec for what names no account; "" says nothing of it."""
    if isinstance(account, int):
        if not 0 <= account < 2**32 - 1:
            raise WireError(f"spec.{field}: {account} is not an id", reason="InvalidSpec")
    elif account and not _ACCOUNT.fullmatch(account):
        raise WireError(f"spec.{field}: {account[:80]!r} is not a name", reason="InvalidSpec")
