"""Names of users and groups as the machine's numbers. Blocking: the system's own look-up may ask a network."""

import grp
import pwd
from typing import Literal

from holdfast_edge.providers.disk.replace import KEEP
from holdfast_protocol.errors import PermanentError


class Accounts:
    """Remembers the answers of one pass: 120 files of one owner are one question."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], int] = {}

    def number(self, kind: Literal["owner", "group"], account: str | int) -> int:
        """Return the id, KEEP for "" (not ours to say), or raise PermanentError with reason UnknownAccount."""
        if isinstance(account, int):
            return account
        if account == "":
            return KEEP
        if account.isascii() and account.isdecimal():
            return int(account)
        known = self._known.get((kind, account))
        if known is None:
            try:
                known = pwd.getpwnam(account).pw_uid if kind == "owner" else grp.getgrnam(account).gr_gid
            except KeyError:
                raise PermanentError(
                    f"spec.{kind}: {account} is not known on this machine",
                    reason="UnknownAccount",
                    hint=f"create it, or give the number of the {kind}",
                ) from None
            self._known[kind, account] = known
        return known
