"""An SSHPolicy's spec, the file of /etc/ssh/sshd_config.d that says it, and how it compares with what sshd does. Pure."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import msgspec

from holdfast_protocol.kinds.shapes import invalid, shaped

MAX_LIST: Final = 64
_WORD: Final = re.compile(r"[!-~]{1,255}")
_SPECIAL: Final = re.compile(r"[\"'#\\]")
_TIME: Final = re.compile(r"(\d{1,6}[smhdw]?)+", re.IGNORECASE)
_TIME_PART: Final = re.compile(r"(\d+)([smhdw]?)", re.IGNORECASE)
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_PAST: Final = {"without-password": "prohibit-password"}  # sshd answers with the word it began with

_YES_NO: Final = ("yes", "no")
# What may be said, and how: choices, a number, a time, one list with commas, words apart, or a path. Not here is what
# moves the door (Port, ListenAddress), runs a program (ForceCommand, AuthorizedKeysCommand, Subsystem) or reaches
# further than one line (Match, Include).
KEYWORDS: Final[dict[str, tuple[str, ...]]] = {
    "AllowAgentForwarding": _YES_NO,
    "AllowGroups": ("words",),
    "AllowStreamLocalForwarding": ("yes", "no", "all", "local", "remote"),
    "AllowTcpForwarding": ("yes", "no", "all", "local", "remote"),
    "AllowUsers": ("words",),
    "AuthenticationMethods": ("words",),
    "Banner": ("path",),
    "Ciphers": ("list",),
    "ClientAliveCountMax": ("number",),
    "ClientAliveInterval": ("time",),
    "Compression": ("yes", "no", "delayed"),
    "DenyGroups": ("words",),
    "DenyUsers": ("words",),
    "DisableForwarding": _YES_NO,
    "GSSAPIAuthentication": _YES_NO,
    "GatewayPorts": ("yes", "no", "clientspecified"),
    "HostKeyAlgorithms": ("list",),
    "HostbasedAuthentication": _YES_NO,
    "IgnoreRhosts": ("yes", "no", "shosts-only"),
    "IgnoreUserKnownHosts": _YES_NO,
    "KbdInteractiveAuthentication": _YES_NO,
    "KexAlgorithms": ("list",),
    "LogLevel": ("QUIET", "FATAL", "ERROR", "INFO", "VERBOSE", "DEBUG", "DEBUG1", "DEBUG2", "DEBUG3"),
    "LoginGraceTime": ("time",),
    "MACs": ("list",),
    "MaxAuthTries": ("number",),
    "MaxSessions": ("number",),
    "PasswordAuthentication": _YES_NO,
    "PermitEmptyPasswords": _YES_NO,
    "PermitRootLogin": ("yes", "no", "prohibit-password", "forced-commands-only"),
    "PermitTTY": _YES_NO,
    "PermitTunnel": ("yes", "no", "point-to-point", "ethernet"),
    "PermitUserEnvironment": _YES_NO,
    "PermitUserRC": _YES_NO,
    "PrintLastLog": _YES_NO,
    "PrintMotd": _YES_NO,
    "PubkeyAcceptedAlgorithms": ("list",),
    "PubkeyAuthentication": _YES_NO,
    "StrictModes": _YES_NO,
    "TCPKeepAlive": _YES_NO,
    "UseDNS": _YES_NO,
    "UsePAM": _YES_NO,
    "X11Forwarding": _YES_NO,
    "X11UseLocalhost": _YES_NO,
}
_BY_LOWER: Final = {word.lower(): word for word in KEYWORDS}
_METHODS: Final = {  # of AuthenticationMethods, by what switches each on
    "publickey": "pubkeyauthentication",
    "password": "passwordauthentication",
    "keyboard-interactive": "kbdinteractiveauthentication",
    "gssapi-with-mic": "gssapiauthentication",
    "hostbased": "hostbasedauthentication",
}
Effective = Mapping[str, tuple[str, ...]]  # the lines of `sshd -T`: values by lower-case keyword


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """As written."""

    settings: dict[str, bool | int | str | tuple[str, ...]]
    mode: Literal["assert", "enforce"] = "enforce"


class Wanted(msgspec.Struct, frozen=True):
    settings: dict[str, str]  # by keyword as OpenSSH writes it, in order
    enforced: bool


def wanted(spec: dict[str, Any]) -> Wanted:
    """Return what the spec wants. Raises WireError: InvalidSpec."""
    given = shaped(spec, Spec)
    found: dict[str, str] = {}
    for key, value in given.settings.items():
        word = _BY_LOWER.get(key.lower())
        if word is None:
            raise invalid(f"spec.settings.{key[:80]}: no setting of a policy", f"one of {', '.join(KEYWORDS)}")
        if word in found:
            raise invalid(f"spec.settings.{key[:80]}: is there twice")
        found[word] = _value(word, value)
    if not found:
        raise invalid("spec.settings: must say something")
    if not ways_in({key.lower(): (value,) for key, value in found.items()}, unsaid="yes"):
        raise invalid("spec.settings: would leave no way to log in", "leave one method of authentication on")
    return Wanted(dict(sorted(found.items())), given.mode == "enforce")


def render(want: Wanted) -> str:
    """Return the lines of a file in /etc/ssh/sshd_config.d."""
    return "".join(f"{key} {value}\n" for key, value in want.settings.items())


def native(spec: dict[str, Any], name: str) -> dict[str, str]:
    """Return the file a machine without Holdfast would read; none for a policy that only asserts."""
    want = wanted(spec)
    path = f"ssh/sshd_config.d/00-{name}.conf"
    head = f"# Install as /etc/{path}, then: sshd -t && systemctl reload ssh\n"
    return {path: head + render(want)} if want.enforced else {}


def effective(output: str) -> dict[str, tuple[str, ...]]:
    """Return what `sshd -T` printed: the values of each keyword, in lower case, in order."""
    found: dict[str, tuple[str, ...]] = {}
    for line in output.splitlines():
        key, _, value = line.partition(" ")
        found[key.lower()] = (*found.get(key.lower(), ()), value.strip())
    return found


def unmet(want: Wanted, now: Effective) -> list[str]:
    """Return what differs, each as "Keyword: is this, wanted that"."""
    found = []
    for key, value in want.settings.items():
        has = now.get(key.lower())
        if has is None:
            found.append(f"{key}: this sshd does not know it")
        elif _comparable(key, " ".join(has)) != _comparable(key, value):
            found.append(f"{key}: is {' '.join(has)[:80]}, wanted {value[:80]}")
    return found


def ways_in(now: Effective, unsaid: str = "no") -> list[str]:
    """Return the methods of authentication that are on and may suffice; `unsaid` stands for a switch not mentioned."""
    on = {name for name, switch in _METHODS.items() if (now.get(switch) or (unsaid,))[0] == "yes"}
    asked = " ".join(now.get("authenticationmethods", ())).split()
    if not asked or asked == ["any"]:
        return sorted(on - {"hostbased"})
    return [way for way in asked if all(step.partition(":")[0] in on for step in way.split(","))]


def _value(key: str, value: bool | int | str | tuple[str, ...]) -> str:
    how = KEYWORDS[key]
    text = ("yes" if value else "no") if isinstance(value, bool) else str(value)
    match how:
        case ("number",) if re.fullmatch(r"\d{1,6}", text):
            return text
        case ("time",) if _TIME.fullmatch(text):
            return text
        case ("path",) if text == "none" or (text.startswith("/") and _plain([text])):
            return text
        case ("words",) | ("list",):
            blanks = text.replace(",", " ") if how == ("list",) else text
            parts = value if isinstance(value, tuple) else tuple(blanks.split()) if text.isprintable() else ()
            if 0 < len(parts) <= MAX_LIST and _plain(parts) and parts[0][0] not in "+-^":
                return (" " if how == ("words",) else ",").join(parts)
        case ("number",) | ("time",) | ("path",):
            pass
        case _:
            chosen = {choice.lower(): choice for choice in how}.get(_PAST.get(text.lower(), text.lower()))
            if chosen is not None:
                return chosen
    raise invalid(f"spec.settings.{key}: {text[:80]!r} cannot be said", f"it takes {_asked(how)}")


def _asked(how: tuple[str, ...]) -> str:
    match how:
        case ("words",):
            return "names, as a list or with blanks"
        case ("list",):
            return "the whole list of algorithms, without + - or ^"
        case _:
            return ", ".join(how)


def _plain(parts: Iterable[str]) -> bool:
    return all(_WORD.fullmatch(part) and not _SPECIAL.search(part) for part in parts)


def _comparable(key: str, value: str) -> str:
    match KEYWORDS[key]:
        case ("time",):
            return str(sum(int(n) * _SECONDS[unit.lower()] for n, unit in _TIME_PART.findall(value)))
        case ("words",) | ("list",) | ("path",):
            return " ".join(value.split())
        case _:
            low = value.lower()
            return _PAST.get(low, low)
