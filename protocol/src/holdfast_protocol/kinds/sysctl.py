"""A Sysctl's spec, and the file of /etc/sysctl.d that says the same. For both sides: a site applies it, a hub ejects it."""

import re
from typing import Any, Final

import msgspec

from holdfast_protocol.errors import WireError

MAX_SETTINGS: Final = 200
MAX_KEY: Final = 255  # bytes
MAX_VALUE: Final = 4000  # bytes; the kernel takes one page
_PART: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@+-]*")
_UNSAFE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """As written: `settings`, or one `key` with its `value`."""

    settings: dict[str, str | int] = {}
    key: str = ""
    value: str | int | None = None


def settings(spec: dict[str, Any]) -> dict[str, str]:
    """Return the value wanted of each key, keys as paths below /proc/sys, or raise WireError: InvalidSpec, BadKey."""
    try:
        given = msgspec.convert(spec, Spec)
    except msgspec.ValidationError as error:
        raise WireError(str(error).replace("`$", "`spec"), reason="InvalidSpec") from None
    both = dict(given.settings)
    if (given.value is None) == bool(given.key):
        raise WireError("spec.key and spec.value belong together", reason="InvalidSpec")
    if given.key and given.value is not None:
        if both:
            raise WireError("spec needs settings, or key and value, not both", reason="InvalidSpec")
        both[given.key] = given.value
    if not 0 < len(both) <= MAX_SETTINGS:
        raise WireError(f"spec.settings must hold 1 to {MAX_SETTINGS} keys", reason="InvalidSpec")
    found = {path_of(key): _value(key, str(value)) for key, value in both.items()}
    if len(found) != len(both):
        raise WireError("spec.settings: one key is there twice, with dots and with slashes", reason="InvalidSpec")
    return dict(sorted(found.items()))


def path_of(key: str) -> str:
    """Return a key as its path below /proc/sys, by the rule of sysctl(8): the first separator, dot or slash, is the
    separator, and the other one then stands for a dot in a name (net.ipv4.conf.eth0/7.forwarding)."""
    first = re.search(r"[./]", key)
    turned = key.translate(str.maketrans("./", "/.")) if first is not None and first[0] == "." else key
    parts = turned.split("/")
    if len(key.encode(errors="replace")) > MAX_KEY or len(parts) < 2 or not all(map(_PART.fullmatch, parts)):
        raise WireError(
            f"spec.settings: {key[:100]!r} is no key of the kernel",
            reason="BadKey",
            hint="write it as sysctl shows it: net.ipv4.ip_forward",
        )
    return turned


def key_of(path: str) -> str:
    """Return a path below /proc/sys as people write it: with dots."""
    return path.translate(str.maketrans("./", "/."))


def normal(value: str) -> str:
    """Return a value as it is compared: the kernel answers with tabs where people write spaces."""
    return " ".join(value.split())


def render(wanted: dict[str, str]) -> str:
    """Return the lines of a file in /etc/sysctl.d."""
    return "".join(f"{key_of(path)} = {value}\n" for path, value in wanted.items())


def native(spec: dict[str, Any], name: str) -> dict[str, str]:
    """Return the file the machine itself reads at boot, by its path below /etc."""
    path = f"sysctl.d/90-{name}.conf"
    return {path: f"# Install as /etc/{path}, then: sysctl --system\n" + render(settings(spec))}


def _value(key: str, value: str) -> str:
    text = normal(value)
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        size = 0
    if not 0 < size <= MAX_VALUE or _UNSAFE.search(value):
        raise WireError(
            f"spec.settings: the value of {key[:100]} must be one line of 1 to {MAX_VALUE} bytes", reason="InvalidSpec"
        )
    return text
