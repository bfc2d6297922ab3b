"""Objects at a site's API server: only what we made there goes, whatever was refused, cut off or made by others in between."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import pytest

from holdfast_edge.providers.kubernetes.access import Access
from holdfast_edge.providers.kubernetes.api import Api
from holdfast_edge.providers.kubernetes.provider import KubernetesProvider
from holdfast_edge.providers.kubernetes.watching import Watching
from holdfast_edge.providers.port import Scope
from holdfast_protocol.errors import PermanentError, TransientError
from holdfast_protocol.wire import target
from support import kubernetes
from support.clock import Running, eventually

pytestmark = [pytest.mark.anyio, pytest.mark.invariant("only-owned-things-are-removed")]
NOTHING = Scope(resources={})
PATH = "/api/v1/namespaces/default/configmaps/limits"
THEIRS = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "limits", "uid": "theirs"}, "data": {"b": "2"}}
LIMITS = target.resource(
    {
        "apiVersion": "holdfast.io/v1alpha1",
        "kind": "Kubernetes",
        "metadata": {"name": "limits"},
        "spec": {
            "manifests": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "limits"}, "data": {"a": "1"}}]
        },
    }
)


class Handler(kubernetes.Handler):
    token = "t"
    refuses = False  # with 403, before anything is changed
    goes_away = False  # after it was changed, before it was answered

    def do_PATCH(self) -> None:  # noqa: N802 (the server calls it so)
        if self.refuses:
            self.asked()
            self.answer(403, {"message": "no"})
        elif self.goes_away:
            self.wfile = open("/dev/null", "wb")  # noqa: SIM115 (the handler closes it)
            super().do_PATCH()
            self.close_connection = True
        else:
            super().do_PATCH()


@pytest.fixture
def handler() -> Iterator[type[Handler]]:
    class Own(Handler):
        port = 0

    kubernetes.OBJECTS.clear()
    kubernetes.OWNERS.clear()
    server = kubernetes.Server(("127.0.0.1", 0), Own)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    Own.port = server.server_port
    yield Own
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def provider(handler: Any, tmp_path: Path) -> KubernetesProvider:
    (tmp_path / "token").write_text("t")
    access = Access(f"http://127.0.0.1:{handler.port}", token_file=str(tmp_path / "token"))
    return KubernetesProvider(access, state=tmp_path / "state")


async def test_what_we_were_refused_to_make_is_not_ours_when_others_make_it(
    provider: KubernetesProvider, handler: Any
) -> None:
    handler.refuses = True
    with pytest.raises(PermanentError, match="no"):
        await provider.apply(LIMITS, NOTHING)
    handler.refuses = False
    kubernetes.OBJECTS[PATH] = dict(THEIRS)
    kubernetes.OWNERS[PATH] = {"person": {"/data/b"}}
    await provider.remove(LIMITS.key, LIMITS.body)
    assert PATH in kubernetes.OBJECTS
    await provider.apply(LIMITS, NOTHING)
    assert kubernetes.OBJECTS[PATH]["data"] == {"a": "1", "b": "2"}
    await provider.remove(LIMITS.key, LIMITS.body)
    assert kubernetes.OBJECTS[PATH]["data"] == {"b": "2"}


async def test_an_object_whose_making_was_not_answered_goes_and_one_of_others_in_its_place_stays(
    provider: KubernetesProvider, handler: Any
) -> None:
    handler.goes_away = True
    with pytest.raises(TransientError):
        await provider.apply(LIMITS, NOTHING)
    assert PATH in kubernetes.OBJECTS
    handler.goes_away = False
    await provider.remove(LIMITS.key, LIMITS.body)
    assert PATH not in kubernetes.OBJECTS

    handler.goes_away = True
    with pytest.raises(TransientError):
        await provider.apply(LIMITS, NOTHING)
    handler.goes_away = False
    kubernetes.OBJECTS[PATH] = dict(THEIRS)
    kubernetes.OWNERS[PATH] = {"person": {"/data/b"}}
    await provider.remove(LIMITS.key, LIMITS.body)
    assert kubernetes.OBJECTS[PATH]["data"] == {"b": "2"}


async def test_a_server_that_hangs_up_in_the_middle_of_a_greeting_ends_no_watch() -> None:
    """A port that is forwarded to nobody, or a load balancer whose servers are away, does this."""
    greeted = 0

    async def hang_up(stream: anyio.abc.SocketStream) -> None:
        nonlocal greeted
        async with stream:
            await stream.receive()
            greeted += 1

    wakes: list[None] = []
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        watching = Watching(Api(Access(f"https://127.0.0.1:{port}")))
        watching.follow([("/api/v1/namespaces/default/configmaps", "line")])
        async with Running(lambda: listener.serve(hang_up), lambda: watching.run(lambda: wakes.append(None))):
            await eventually(lambda: wakes, "to be woken for what the watch cannot tell")
            assert greeted
