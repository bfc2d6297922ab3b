"""Not now: a workload, or a person beside it, asks that a change wait; for so long at most, and then by policy.

A resource names whom to ask in its annotations:
    holdfast.io/not-now: file:/run/press/busy | exec:["/usr/bin/press","busy"] | socket:/run/press/ask.sock
    holdfast.io/not-now-at-most: 30m      (the machine's own limit is the default, and the most)
    holdfast.io/not-now-then: go | alert  (after that; alert waits on, loudly)
"""

from typing import Any, Final, Literal

import msgspec

from holdfast_edge.core.holds import Moment, left
from holdfast_protocol.calendar import durations
from holdfast_protocol.errors import WireError
from holdfast_protocol.wire.names import ResourceKey

PREFIX: Final = "holdfast.io/not-now"
MAX_WORDS: Final = 32
MAX_TEXT: Final = 200  # characters of an answer that are kept
MAX_ANNOTATION: Final = 4_000
ASKS: Final = "asks whether it may"  # while there is no fresh answer
SOCKETS: Final = "/run/"  # where those live that may be asked


class NotNow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may say "not now" on this machine, and for how long at most."""

    folder: str = "/run/holdfast/not-now"  # a file in it says so; "": nobody's does
    commands: tuple[str, ...] = ()  # programs that the annotation of a resource may have started
    at_most_s: float = 4 * 3600.0
    ask_within_s: float = 5.0


class Ask(msgspec.Struct, frozen=True):
    """Whom to ask (`words` is a path, or a command), for how many seconds a "not now" holds, and what then."""

    kind: Literal["file", "exec", "socket"]
    words: tuple[str, ...]
    at_most: float
    then: Literal["go", "alert"] = "go"


class Deferral(msgspec.Struct, frozen=True):
    """A change that was asked to wait, from the first time on. `made_at` in seconds of that boot, `until` in ms."""

    key: ResourceKey
    digest: str
    made_at: float
    boot_id: str
    seconds: float
    until: int
    then: Literal["go", "alert"] = "go"
    reason: str = ""
    said: bool = False  # the alarm was raised


def is_asked(body: dict[str, Any]) -> bool:
    """Return whether a resource names somebody to ask."""
    annotations = (body.get("metadata") or {}).get("annotations")
    return isinstance(annotations, dict) and PREFIX in annotations


def ask_of(body: dict[str, Any], limit: float) -> Ask | None:
    """Return whom to ask before a resource is changed; None for nobody. `limit` is the machine's own, in seconds.

    Raises WireError `InvalidAnnotation` for one that cannot be understood."""
    if not is_asked(body):
        return None
    annotations = body["metadata"]["annotations"]
    text, then = annotations[PREFIX], annotations.get(f"{PREFIX}-then", "go")
    if not isinstance(text, str) or len(text) > MAX_ANNOTATION or then not in ("go", "alert"):
        raise _wrong("file:PATH, exec:[…] or socket:PATH; then go or alert")
    at_most = annotations.get(f"{PREFIX}-at-most")
    seconds = float(durations.seconds(str(at_most), f"{PREFIX}-at-most")) if at_most is not None else limit
    kind, _, rest = text.partition(":")
    match kind:
        case "file" | "socket" if rest.startswith("/") and "\0" not in rest and "/../" not in f"{rest}/":
            if kind == "socket" and not rest.startswith(SOCKETS):
                raise _wrong(f"a socket that is asked lies below {SOCKETS}")
            return Ask(kind, (rest,), min(seconds, limit), then)
        case "exec":
            return Ask("exec", _words(rest), min(seconds, limit), then)
        case _:
            raise _wrong(f"{text[:60]!r} is not file:PATH, exec:[…] or socket:PATH")


def _words(text: str) -> tuple[str, ...]:
    try:
        words = msgspec.json.decode(text, type=tuple[str, ...])
    except (msgspec.DecodeError, UnicodeEncodeError):
        raise _wrong("exec: needs a JSON list of words, the program first") from None
    if not 0 < len(words) <= MAX_WORDS or not words[0].startswith("/") or any("\0" in word for word in words):
        raise _wrong(f"exec: needs 1 to {MAX_WORDS} words, the first one an absolute path")
    return words


def _wrong(message: str) -> WireError:
    return WireError(f"{PREFIX}: {message}", reason="InvalidAnnotation")


def begun(key: ResourceKey, digest: str, ask: Ask, reason: str, now: Moment) -> Deferral:
    """Return a wait that begins now."""
    until = int((now.wall + ask.at_most) * 1000)
    return Deferral(key, digest, now.boottime, now.boot_id, ask.at_most, until, ask.then, reason[:MAX_TEXT])


def remaining(deferral: Deferral, now: Moment) -> float:
    """Return for how many more seconds "not now" is heard; 0 when its time is over."""
    return left(deferral.boot_id, deferral.made_at, deferral.seconds, deferral.until, now)
