"""A MandatoryAccessControl's spec: AppArmor or SELinux, as they must be; asserted, or enforced as far as that goes."""

import re
from typing import Any, Final, Literal

import msgspec

from holdfast_protocol.kinds.shapes import invalid, shaped

MAX_PROFILES: Final = 200
MAX_POLICY: Final = 256 * 1024  # bytes
HEAD: Final = "# By Holdfast: changes made here are undone.\n"
Standing = Literal["enforce", "complain", "kill", "unconfined", "loaded"]
_PROFILE: Final = re.compile(r"[!-~]([ -~]{0,510}[!-~])?")
_WORD: Final = r'"[^"\n]+"|(?:[^\s{]|\{[^\s{}]*\})+'
_HEADER: Final = re.compile(
    rf"^[ \t]*(?:profile[ \t]+)?({_WORD})(?:[ \t]+((?=[\"/@])(?:{_WORD})))?[^\n{{]*\{{(?=[\s}}]|$)", re.MULTILINE
)
_GLOB: Final = re.compile(r"\*\*|\*|\?|@\{\w+\}|\[[^]]*\]|[{},]|.", re.DOTALL)
_UNSAFE: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_REACHES_OUT: Final = re.compile(r"^[ \t]*#include\s+[<\"]|^[ \t]*include\s+(?!if exists |<)", re.MULTILINE)


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """As written. `profiles` and `policy` are AppArmor's."""

    system: Literal["apparmor", "selinux"] = "apparmor"
    mode: Literal["assert", "enforce"] = "assert"
    profiles: dict[str, Standing] = {}  # by name; loaded: in any mode
    policy: str = ""  # text of profiles that are kept loaded; needs mode: enforce


def wanted(spec: dict[str, Any]) -> Spec:
    """Return the spec, checked. Raises WireError: InvalidSpec."""
    given = shaped(spec, Spec)
    if given.system == "selinux" and (given.profiles or given.policy):
        raise invalid("spec.profiles: profiles and policy are AppArmor's", "leave them out, or say system: apparmor")
    if given.policy and given.mode != "enforce":
        raise invalid("spec.policy: is loaded by mode: enforce alone", "say mode: enforce")
    if given.system == "apparmor" and given.mode == "enforce" and not given.policy:
        raise invalid("spec.policy: without a policy there is nothing to enforce", "say mode: assert, or give a policy")
    if len(given.profiles) > MAX_PROFILES:
        raise invalid(f"spec.profiles: more than {MAX_PROFILES}")
    for profile in given.profiles:
        if not _PROFILE.fullmatch(profile):
            raise invalid(f"spec.profiles: {profile[:80]!r} is no profile's name", "write it as aa-status shows it")
    if len(given.policy.encode(errors="replace")) > MAX_POLICY or _UNSAFE.search(given.policy):
        raise invalid(f"spec.policy: must be text of at most {MAX_POLICY} bytes")
    if not given.policy.isascii() or _REACHES_OUT.search(given.policy):
        raise invalid("spec.policy: ASCII, and includes only as include <abstractions/…>")
    return given


def render(want: Spec) -> str:
    """Return the file of /etc/apparmor.d; "" without a policy."""
    return HEAD + want.policy + ("" if want.policy.endswith("\n") else "\n") if want.policy else ""


def confines(policy: str, program: str) -> bool:
    """Return whether a profile of the policy attaches to a program at this path, as far as its text tells: a variable
    is taken for anything."""
    attached = (part.strip('"') for header in _HEADER.findall(policy) for part in header)
    return any(re.fullmatch(_pattern(each), program) for each in attached if each[:1] in {"/", "@"})


def _pattern(glob: str) -> str:
    depth, parts = 0, []
    for piece in _GLOB.findall(glob):
        match piece:
            case "**":
                parts.append(".*")
            case "*" | "?":
                parts.append("[^/]*" if piece == "*" else "[^/]")
            case "{":
                depth += 1
                parts.append("(?:")
            case "}" if depth:
                depth -= 1
                parts.append(")")
            case "," if depth:
                parts.append("|")
            case _ if piece.startswith("@{"):
                parts.append(".*")
            case _ if piece.startswith("[") and len(piece) > 2:
                parts.append("[^/]")
            case _:
                parts.append(re.escape(piece))
    return "".join(parts) + ")" * depth
