"""Topic patterns: MQTT's wildcards, with names for the levels they stand for.

`plant/{area}/dev-{device}/{rest#}`: {name} is one level or a part of one, {name#} all that remains (one level or more),
`+` a level nobody names, `#` what remains, if anything.
"""

import re
from typing import Final

from holdfast_protocol.errors import WireError

MAX_PATTERN: Final = 512  # characters
MAX_LEVELS: Final = 32
_NAMED: Final = re.compile(r"\{([a-z][A-Za-z0-9_]{0,31})(#?)\}")


class Pattern:
    """A pattern ready to match. `names`: what its levels are called, in order."""

    def __init__(self, text: str, path: str) -> None:
        """Raises WireError InvalidSpec naming `path`."""
        self.text = text
        self.names: tuple[str, ...] = ()
        levels = text.split("/")
        if not text or len(text) > MAX_PATTERN or len(levels) > MAX_LEVELS or "\0" in text:
            raise _invalid(path, f"must have 1 to {MAX_PATTERN} characters and at most {MAX_LEVELS} levels")
        parts = [self._level(level, index == len(levels) - 1, path) for index, level in enumerate(levels)]
        if len(set(self.names)) != len(self.names):
            raise _invalid(path, "one name stands for two levels")
        source = "/".join(parts)
        if levels[-1] == "#":  # `a/#` is `a` too, as MQTT has it
            source = source[: -len("/.*")] + "(?:/.*)?" if len(levels) > 1 else ".*"
        self._expression = re.compile(source, re.DOTALL)

    def levels(self, topic: str) -> dict[str, str] | None:
        """Return the named levels of a topic, None when it does not match."""
        found = self._expression.fullmatch(topic)
        return None if found is None else dict(zip(self.names, found.groups(), strict=True))

    def _level(self, level: str, is_last: bool, path: str) -> str:
        if level == "+":
            return "[^/]*"
        if level == "#" and is_last:
            return ".*"
        found = list(_NAMED.finditer(level))
        rest = _NAMED.sub("", level)
        if len(found) > 1 or set(rest) & set("{}+#"):
            raise _invalid(path, f"level {level[:80]!r} is neither text, nor +, # or one {{name}}")
        if not found:
            return re.escape(level)
        name, tail = found[0].groups()
        if tail and not (is_last and not rest):
            raise _invalid(path, f"{{{name}#}} stands for all that remains: alone, and last")
        self.names += (name,)
        inside = "(.+)" if tail else "([^/]+)"
        return re.escape(level[: found[0].start()]) + inside + re.escape(level[found[0].end() :])


def is_filter(text: str) -> bool:
    """Return whether a text is an MQTT subscription filter."""
    levels = text.split("/")
    return (
        0 < len(text.encode("utf-8", "replace")) <= 65_535
        and "\0" not in text
        and all(level == "+" or not set(level) & {"+", "#"} for level in levels[:-1])
        and (levels[-1] in ("+", "#") or not set(levels[-1]) & {"+", "#"})
    )


def _invalid(path: str, message: str) -> WireError:
    return WireError(f"{path}: {message}", reason="InvalidSpec", hint="plant/{area}/{device}/{metric}")
