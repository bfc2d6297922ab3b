"""Restarts: how this machine is asked whether it needs one, told of it, and restarted, by systemd."""

import os
from functools import partial
from pathlib import Path

import anyio.to_thread

from holdfast_edge.providers.systemd.dbus import DbusSystemd
from holdfast_edge.providers.systemd.home import find_home
from holdfast_edge.reconcile.rebooter import Restarting
from holdfast_edge.sensors import restarting
from holdfast_edge.settings import Settings
from holdfast_edge.store.outbox import Outbox


def restarts(settings: Settings, outbox: Outbox) -> Restarting:
    """Return the machine's restarts as these settings allow them."""
    return Restarting(
        settings.providers.reboots,
        partial(anyio.to_thread.run_sync, restarting.ground),
        partial(_restart, settings),
        partial(_announce, settings.reboots.notice),
        outbox.tidy,
    )


async def _restart(settings: Settings) -> None:
    """Raises UnsupportedError where the machine was not booted with systemd."""
    backend = DbusSystemd(find_home("system", os.environ).address, settings.systemd.door)
    try:
        await backend.reboot()
    finally:
        await backend.close()


async def _announce(path: str, said: dict[str, object] | None) -> None:
    if path:
        await anyio.to_thread.run_sync(restarting.announce, Path(path), said)
