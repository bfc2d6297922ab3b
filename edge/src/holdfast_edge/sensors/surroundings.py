"""Surroundings: whether this machine still stands in its network, as far as it can tell by itself."""

import ipaddress
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any, Final

import anyio
import anyio.to_thread
import msgspec

_PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin"
_WITHIN: Final = 5.0  # seconds for ip(8)
_CONNECTS: Final = 3.0  # seconds
_PORTS: Final = (53, 80, 443, 22)  # a gateway that answers on any of them, if only with a refusal, answers
_GONE: Final = frozenset({"FAILED", "INCOMPLETE"})


async def connects(host: str, port: int, within: float = _CONNECTS) -> bool:
    """Return whether a new TCP connection can be made: one that stands may outlive the way to it."""
    try:
        with anyio.fail_after(within):
            async with await anyio.connect_tcp(host, port):
                return True
    except (OSError, TimeoutError):
        return False


async def look_around() -> tuple[str, ...]:
    """Return what of address, gateway and answer there is."""
    addresses = await _ip("-j", "address", "show", "up")
    routes = [*await _ip("-j", "-4", "route", "show", "default"), *await _ip("-j", "-6", "route", "show", "default")]
    gateways = sorted({str(each["gateway"]) for each in routes if "gateway" in each})
    found = []
    if any(_is_of_use(info) for each in addresses for info in each.get("addr_info", ())):
        found.append("address")
    answering = await _answering(gateways)
    neighbours = await _ip("-j", "neigh", "show") if gateways else []
    there = {
        str(each.get("dst")) for each in neighbours if each.get("lladdr") and not _GONE & set(each.get("state") or ())
    }
    if answering or there & set(gateways):
        found.append("gateway")
    if answering:
        found.append("answer")
    return tuple(found)


def _is_of_use(info: dict[str, Any]) -> bool:
    try:
        address = ipaddress.ip_address(str(info.get("local")))
    except ValueError:
        return False
    return not (address.is_loopback or address.is_link_local)


async def _answering(gateways: Sequence[str]) -> bool:
    """Return whether a gateway answers. Asking also makes the kernel look for it anew."""
    found: list[bool] = []

    async def ask(host: str, port: int) -> None:
        try:
            with anyio.fail_after(1.0):
                async with await anyio.connect_tcp(host, port):
                    found.append(True)
        except ConnectionRefusedError:
            found.append(True)
        except OSError as error:
            if "refused" in str(error):
                found.append(True)
        except TimeoutError:
            return

    async with anyio.create_task_group() as group:
        for gateway in gateways[:4]:
            for port in _PORTS:
                group.start_soon(ask, gateway, port)
    return bool(found)


async def _ip(*words: str) -> list[dict[str, Any]]:
    """Return what ip(8) lists, nothing when it cannot be asked."""
    return await anyio.to_thread.run_sync(_listed, words)


def _listed(words: tuple[str, ...]) -> list[dict[str, Any]]:
    program = shutil.which("ip", path=_PATH)
    if program is None:
        return []
    try:
        done = subprocess.run(
            [program, *words], capture_output=True, timeout=_WITHIN, check=False, stdin=subprocess.DEVNULL
        )
        return msgspec.json.decode(done.stdout or b"[]", type=list[dict[str, Any]])
    except (OSError, subprocess.TimeoutExpired, msgspec.DecodeError, UnicodeDecodeError):
        return []
