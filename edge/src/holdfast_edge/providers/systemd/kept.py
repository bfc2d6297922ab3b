"""What of the machine's folders is the agent's own. Blocking: a few lstat."""

import os
from collections.abc import Collection
from pathlib import Path

from holdfast_protocol.errors import PermanentError


class Kept:
    """`paths`: the agent's folders and files, as configured and as they really lie."""

    def __init__(self, paths: Collection[Path]) -> None:
        both = [(os.path.abspath(path), os.path.realpath(path)) for path in paths]
        self._paths = tuple(dict.fromkeys(form for forms in both for form in forms))

    def refuse(self, where: str) -> None:  # [inv: agent-is-never-its-own-casualty]
        """Raise PermanentError AgentPath for a place that hides one of them, or lies inside."""
        for path in self._paths:
            if where == path or path.startswith(where + "/") or where.startswith(path + "/"):
                raise PermanentError(f"what is mounted at {where} hides the agent's own {path}", reason="AgentPath")
