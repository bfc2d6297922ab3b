"""A Deployment of three containers from absent to running, by the agent's loop and by bare calls of the engine's SDK.

The same containers, in the same network mode: `host`; `pod`, in which the second and third share the first one's network as in
a Pod; `replicas`, each in the bridge network by itself. From handing over the target, or the first call, until the engine
tells that the third has started.
"""

import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread

from holdfast_edge.providers.offers import equip
from holdfast_protocol.kinds.way import Way
from support import builders, loop
from support.engine import IMAGE, RealEngine, running_engine

MODES: Final = ("host", "pod", "replicas")
ROUNDS: Final = 7
COMMAND: Final = ["/bin/sleep", "3600"]


def measured() -> dict[str, tuple[list[float], list[float]]]:
    """Return for each mode what ours took and what the bare calls took, in seconds; they take turns."""
    found = {}
    for mode in MODES:
        with running_engine(bridge=True) as engine, tempfile.TemporaryDirectory() as name:
            found[mode] = anyio.run(_compared, engine, Path(name), mode)
    return found


async def _compared(engine: RealEngine, folder: Path, mode: str) -> tuple[list[float], list[float]]:
    (folder / "state").mkdir()
    chosen = equip(
        file_roots=[],
        engine=engine.url,
        host_paths=(),
        privileged=True,
        systemd="",
        kernel=False,
        network=False,
        machine=False,
        hub=Way("127.0.0.1", 1883),
        site=builders.SITE,
        state=folder / "state",
        denied=(),
        environ={},
    )
    site = loop.site_of(folder / "state", chosen)
    ours, bare = [], []
    async with loop.running(site, chosen):
        await anyio.sleep(1)
        for number in range(ROUNDS):
            bare.append(await anyio.to_thread.run_sync(_timed, engine, lambda: _bare(engine, mode)))
            engine.clear()
            timer = Starts(engine)
            began = time.time()
            await loop.give(site, [_body(mode)], generation=2 * number + 1)
            ours.append(await anyio.to_thread.run_sync(timer.third) - began)
            await loop.reaches(site, "Converged", 2 * number + 1, 30)
            await loop.give(site, [], generation=2 * number + 2)
            await loop.reaches(site, "Converged", 2 * number + 2, 30)
            assert not engine.client.containers(all=True)
    await loop.closed(site, chosen)
    return ours, bare


class Starts:
    """Listens to the engine from its making on; `third` is when it told of the third start."""

    def __init__(self, engine: RealEngine) -> None:
        self._stream = engine.client.events(decode=True, filters={"event": "start"})
        self._at: list[float] = []
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def third(self) -> float:
        """Return seconds since 1970 by the engine's clock, which is this machine's."""
        self._thread.join(60)
        return self._at[2]

    def _listen(self) -> None:
        for event in self._stream:
            self._at.append(event["timeNano"] / 1e9)
            if len(self._at) == 3:
                self._stream.close()
                return


def _timed(engine: RealEngine, action: Callable[[], None]) -> float:
    timer = Starts(engine)
    began = time.time()
    action()
    return timer.third() - began


def _bare(engine: RealEngine, mode: str) -> None:
    client = engine.client
    first = ""
    for number in range(3):
        network = {"host": "host", "pod": f"container:{first}" if first else "bridge", "replicas": "bridge"}[mode]
        host = client.create_host_config(network_mode=network, restart_policy={"Name": "always"})
        made = client.create_container(IMAGE, COMMAND, name=f"bare-{number}", host_config=host)["Id"]
        client.start(made)
        first = first or made


def _body(mode: str) -> dict[str, Any]:
    containers = [{"name": f"c{n}", "image": IMAGE, "command": COMMAND} for n in range(1 if mode == "replicas" else 3)]
    spec: dict[str, Any] = {"containers": containers, "terminationGracePeriodSeconds": 0}
    if mode == "host":
        spec["hostNetwork"] = True
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "bench"},
        "spec": {
            "replicas": 3 if mode == "replicas" else 1,
            "selector": {"matchLabels": {"app": "bench"}},
            "template": {"metadata": {"labels": {"app": "bench"}}, "spec": spec},
        },
    }
