"""Kinds of the operating system in the form the machine itself reads at boot. Pure."""

from collections.abc import Callable
from typing import Any, Final

from holdfast_protocol.errors import WireError
from holdfast_protocol.kinds import firewall, kernel_module, sysctl
from holdfast_protocol.wire.names import is_name

_Files = dict[str, str]  # text by relative path


def native_files(body: dict[str, Any]) -> _Files | None:
    """Return the files a resource of such a kind is, None for all other kinds. Raises WireError for what cannot be said."""
    writer = _WRITERS.get(body["kind"])
    if writer is None:
        return None
    name = str(body["metadata"]["name"])
    if not is_name(name):
        raise WireError(f"{name[:100]!r} cannot name a file of settings", reason="BadName")
    return writer(body.get("spec") or {}, name)


def _sysctl(spec: dict[str, Any], name: str) -> _Files:
    path = f"sysctl.d/90-{name}.conf"
    return {path: f"# Install as /etc/{path}, then: sysctl --system\n" + sysctl.render(sysctl.settings(spec))}


def _kernel_module(spec: dict[str, Any], name: str) -> _Files:
    want = kernel_module.wanted(spec, name)
    load, options = f"modules-load.d/{name}.conf", f"modprobe.d/{name}.conf"
    texts = {options: kernel_module.render_options(want), load: kernel_module.render_load(want)}
    return {
        path: f"# Install as /etc/{path}, then: modprobe {want.module}\n{text}" for path, text in texts.items() if text
    }


def _firewall(spec: dict[str, Any], name: str) -> _Files:
    head = f"# Load with: nft -f {name}.nft; to have it at every boot, include it in /etc/nftables.conf\n"
    return {f"{name}.nft": head + firewall.render(spec, name, None)}


_WRITERS: Final[dict[str, Callable[[dict[str, Any], str], _Files]]] = {
    "Sysctl": _sysctl,
    "KernelModule": _kernel_module,
    "Firewall": _firewall,
}
