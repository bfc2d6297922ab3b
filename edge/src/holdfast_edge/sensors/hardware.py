"""Facts of the hardware: what the board is, its disks and its network interfaces, as the kernel shows them in /sys and /proc.

Every value can be asked for in a selector: letters, digits and inner -_. alone, at most 63.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

MAX_EACH: Final = 8  # disks, and interfaces, that are told one by one; the rest are only counted
MAX_TEXT: Final = 64 * 1024  # bytes of one file
_NO_DISKS: Final = ("loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd", "zd")
_NO_CARDS: Final = (
    "lo",
    "veth",
    "ve-",
    "vb-",
    "docker",
    "br-",
    "virbr",
    "cni",
    "flannel",
    "cali",
    "ifb",
    "tun",
    "tap",
    "dummy",
)
_OTHER: Final = re.compile(r"[^A-Za-z0-9_.-]+")
_MEANINGLESS: Final = frozenset(
    {"", "to-be-filled-by-o.e.m", "default-string", "system-product-name", "none", "not-specified"}
)
_MACHINES: Final = {
    "qemu": "kvm",
    "vmware": "vmware",
    "innotek": "virtualbox",
    "xen": "xen",
    "microsoft": "hyper-v",
    "amazon": "amazon",
}


def hardware_facts(root: Path = Path("/")) -> dict[str, str]:
    """Return facts by name; those the machine does not tell are left out. Blocking, but memory only."""
    board = root / "sys/class/dmi/id"
    model = _named(_text(board / "product_name")) or _named(_text(root / "proc/device-tree/model"))
    vendor = _named(_text(board / "sys_vendor"))
    return {
        "hardware": model,
        "vendor": vendor,
        "virtualisation": _virtualisation(root, vendor),
        "tpm": _tpm(root / "sys/class/tpm/tpm0"),
        **_disks(root / "sys/block"),
        **_cards(root / "sys/class/net"),
    }


def plain(text: str) -> str:
    """Return a text as a selector can ask for it, "" when nothing is left of it."""
    return _OTHER.sub("-", text.strip("\0 \t\n")).strip("-_.")[:63].rstrip("-_.")


def _named(text: str) -> str:
    name = plain(text)
    return "" if name.lower() in _MEANINGLESS else name


def _virtualisation(root: Path, vendor: str) -> str:
    """Return the container the machine is, the hypervisor it runs on, or none."""
    if container := plain(_text(root / "run/systemd/container")):
        return container
    if kind := plain(_text(root / "sys/hypervisor/type")):
        return kind
    found = next((kind for word, kind in _MACHINES.items() if vendor.lower().startswith(word)), "")
    if found:
        return found
    flags = re.search(r"^flags\s*:(.*)$", _text(root / "proc/cpuinfo"), re.MULTILINE)
    return "other" if flags is not None and " hypervisor" in flags[1] else "none"


def _tpm(folder: Path) -> str:
    if not folder.exists():
        return "no"
    return plain(_text(folder / "tpm_version_major")) or "yes"


def _disks(folder: Path) -> dict[str, str]:
    names = [name for name in _names(folder) if not name.startswith(_NO_DISKS)]
    found = {"disks": str(len(names))} if names else {}
    for name in names[:MAX_EACH]:
        sectors = _text(folder / name / "size").strip()
        if sectors.isdecimal():
            found[f"disk-{plain(name)}-gb"] = str(int(sectors) * 512 // 10**9)
        rotational = _text(folder / name / "queue/rotational").strip()
        found[f"disk-{plain(name)}-rotational"] = {"1": "yes", "0": "no"}.get(rotational, "")
    return found


def _cards(folder: Path) -> dict[str, str]:
    names = [name for name in _names(folder) if not name.startswith(_NO_CARDS)]
    found = {"interfaces": str(len(names))} if names else {}
    for name in names[:MAX_EACH]:
        found[f"net-{plain(name)}"] = plain(_text(folder / name / "address").strip().replace(":", "-"))
    return found


def _names(folder: Path) -> Iterator[str]:
    try:
        yield from sorted(os.listdir(folder))
    except OSError:
        return


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_TEXT).decode(errors="replace")
    except OSError:
        return ""
