"""A KernelModule's spec, and the files of /etc/modules-load.d and /etc/modprobe.d that say the same."""

import re
from typing import Any, Final

import msgspec

from holdfast_protocol.errors import WireError

MAX_PARAMETERS: Final = 50
_MODULE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,54}")  # the kernel's own limit
_PARAMETER: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_VALUE: Final = re.compile(r"[A-Za-z0-9_.,:;/=+@%*?!()\[\]-]{1,500}")  # nothing modprobe or the kernel would split at


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """As written."""

    name: str = ""  # "": metadata.name
    parameters: dict[str, str | int | bool] = {}
    loaded: bool = True  # false: only its parameters are said, for whoever loads it


class Wanted(msgspec.Struct, frozen=True):
    module: str  # with underscores, as the kernel calls it
    parameters: dict[str, str]
    loaded: bool


def wanted(spec: dict[str, Any], name: str) -> Wanted:
    """Return what the spec of the resource `name` wants, or raise WireError: InvalidSpec, BadName."""
    try:
        given = msgspec.convert(spec, Spec)
    except msgspec.ValidationError as error:
        raise WireError(str(error).replace("`$", "`spec"), reason="InvalidSpec") from None
    module = given.name or name
    if not _MODULE.fullmatch(module):
        raise WireError(
            f"{module[:100]!r} cannot name a module", reason="BadName", hint="say it in spec.name, as lsmod shows it"
        )
    if len(given.parameters) > MAX_PARAMETERS:
        raise WireError(f"spec.parameters: more than {MAX_PARAMETERS}", reason="InvalidSpec")
    if not given.loaded and not given.parameters:
        raise WireError("spec: not loaded and without parameters there is nothing to do", reason="InvalidSpec")
    parameters = {}
    for key, value in sorted(given.parameters.items()):
        text = str(int(value)) if isinstance(value, bool) else str(value)
        if not _PARAMETER.fullmatch(key) or not _VALUE.fullmatch(text):
            raise WireError(f"spec.parameters.{key[:100]}: no such name or value can be written", reason="InvalidSpec")
        parameters[key] = text
    return Wanted(module.replace("-", "_"), parameters, given.loaded)


def render_load(want: Wanted) -> str:
    """Return the file of /etc/modules-load.d; "" when nothing is to be loaded."""
    return f"{want.module}\n" if want.loaded else ""


def render_options(want: Wanted) -> str:
    """Return the file of /etc/modprobe.d; "" without parameters."""
    said = " ".join(f"{key}={value}" for key, value in want.parameters.items())
    return f"options {want.module} {said}\n" if said else ""


def native(spec: dict[str, Any], name: str) -> dict[str, str]:
    """Return the files the machine itself reads at boot, by their paths below /etc."""
    want = wanted(spec, name)
    texts = {f"modprobe.d/{name}.conf": render_options(want), f"modules-load.d/{name}.conf": render_load(want)}
    return {
        path: f"# Install as /etc/{path}, then: modprobe {want.module}\n{text}" for path, text in texts.items() if text
    }
