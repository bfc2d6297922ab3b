"""The one door to a container engine's socket: Docker's API, which Podman speaks too. Every call in a worker thread.

The SDK is loaded with the first call: 225 ms and 23 MiB that a site without containers does not pay.
"""

import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from typing import Any, Final, TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread
import msgspec

from holdfast_edge.providers.container.found import Found, found, image_id
from holdfast_protocol.errors import MisuseError, PermanentError, ProviderError, TransientError
from holdfast_protocol.kinds.pods.image import mirrored, name_and_tag, pinned, registry
from holdfast_protocol.kinds.pods.pull_secrets import Login

T = TypeVar("T")
TIMEOUT_S: Final = 60  # of one answer
MAX_CALLS: Final = 8  # at a time
MAX_TEXT: Final = 500  # characters of what the engine says
_NETWORKING: Final = threading.Lock()  # over all Engines: several providers speak to one
_IGNORED: Final = ("exec_", "top", "attach", "resize", "export", "commit", "copy", "archive-path", "extract-to-dir")


class Image(msgspec.Struct, frozen=True):
    id: str
    user: str  # "": root
    name: str  # by which the engine has it


class Sight(msgspec.Struct, frozen=True):
    """Containers of ours, and the ids of the images asked for that are there."""

    containers: tuple[Found, ...]
    images: Mapping[str, str]


class Engine:
    """Raises TransientError (EngineDown) when nobody answers, PermanentError for what the engine refuses."""

    def __init__(self, url: str, mirrors: Mapping[str, str] | None = None) -> None:
        """`url` is that of a local socket: unix:///run/docker.sock. `mirrors`: registry -> host:port that has the same."""
        if not url.startswith("unix:///"):
            raise MisuseError(f"{url!r} is not a local socket", reason="BadEngine", hint="unix:///run/docker.sock")
        self.url = url
        self._idle: list[Any] = []  # clients: one serves one thread at a time
        self._version = "auto"
        self._limiter = anyio.CapacityLimiter(MAX_CALLS)
        self._closed = False
        self._listens: bool | None = None  # to commands in containers: not known yet
        self._mirrors = mirrors or {}

    async def look(self, labels: Mapping[str, str], images: Sequence[str] = ()) -> Sight:
        return await self._call(partial(_look, labels=labels, images=images, mirrors=self._mirrors), abandon=True)

    async def image(self, reference: str) -> Image | None:
        """Return a local image, None when it is absent."""
        return await self._call(partial(_image, reference=reference, mirrors=self._mirrors), abandon=True)

    async def create(self, name: str, config: Mapping[str, Any]) -> str:
        """Return the new container's id. Raises TransientError (NameTaken) while another one has the name."""
        try:
            made = await self._call(lambda client: client.create_container_from_config(dict(config), name))
        except TransientError as error:
            if error.reason == "Busy":
                error.reason, error.hint = "NameTaken", f"remove or rename the container {name}: it is not ours"
            raise
        return str(made["Id"])

    async def start(self, container: str) -> None:
        """Running already is success. What cannot start now may after somebody freed a port or mended the image."""
        try:
            await self._call(lambda client: client.start(container))
        except PermanentError as error:
            raise TransientError(error.message, reason="CannotStart") from error

    async def unpause(self, container: str) -> None:
        await self._call(lambda client: client.unpause(container))

    async def restart(self, container: str, grace_s: int) -> None:
        await self._call(lambda client: client.restart(container, timeout=grace_s))

    async def stop(self, container: str, grace_s: int) -> None:
        """Have a container end, and keep what is left of it. Ended already, or absent, is success."""
        await self._call(partial(_stop, container=container, grace_s=grace_s))

    async def ensure_network(self, name: str, labels: Mapping[str, str]) -> None:
        """Have a network in which containers find one another by name."""
        await self._call(partial(_ensure_network, name=name, labels=dict(labels)))

    async def has_network(self, name: str) -> bool:
        return await self._call(lambda client: bool(client.networks(names=[f"^{name}$"])), abandon=True)

    async def connect(self, network: str, container: str, aliases: Sequence[str]) -> None:
        """Have a container answer to these names, and to no others of before, in a network."""
        await self._call(partial(_connect, network=network, container=container, aliases=list(aliases)))

    async def remove_idle_network(self, name: str) -> None:
        """Remove a network nobody is in. Absent already, or in use, is success."""
        await self._call(partial(_remove_idle_network, name=name))

    async def remove(self, container: str, grace_s: int) -> None:
        """Stop a container, with so many seconds to end by itself, and remove it. Absent already is success."""
        await self._call(partial(_remove, container=container, grace_s=grace_s))

    async def lacks(self, host: Mapping[str, Any]) -> str:
        """Return which of the limits asked for this engine's machine cannot keep, "" for none."""
        info = await self._call(lambda client: client.info(), abandon=True)
        wanted = {"Memory": "MemoryLimit", "NanoCpus": "CpuCfsQuota"}
        return ", ".join(name for name, able in wanted.items() if host.get(name) and info.get(able) is False)

    async def tail(self, container: str, lines: int) -> str:
        """Return the last lines a container wrote, with their times. Absent is as silent as it gets."""
        return await self._call(partial(_tail, container=container, lines=lines), abandon=True)

    async def begin_exec(self, container: str, command: Sequence[str]) -> str:
        """Start a command in a container and return its id there."""
        return await self._call(partial(self._begin_exec, container, list(command)), abandon=True)

    async def exec_result(self, number: str) -> int | None:
        """Return a command's exit code, None while it runs."""
        state = await self._call(lambda client: client.exec_inspect(number), abandon=True)
        code = state.get("ExitCode")
        return None if state.get("Running") or code is None else int(code)

    def pull(self, reference: str, logins: Mapping[str, Login], said: Callable[[str], None]) -> None:
        """Fetch an image, from the mirror where its registry has one, for hours if need be: blocking, for a thread of its
        own. Of `logins` (by registry) only that of the one asked is sent. `said` hears of the progress."""
        source = mirrored(reference, self._mirrors)
        login = logins.get(registry(source))
        auth = None if login is None else {"username": login.username, "password": login.password}
        with self._client() as client:
            for line in client.pull(source, stream=True, decode=True, auth_config=auth):
                if line.get("error"):
                    raise TransientError(f"{source}: {str(line['error'])[:MAX_TEXT]}", reason="PullFailed")
                said(" ".join(str(line.get(part, "")) for part in ("id", "status", "progress")).strip()[:MAX_TEXT])
            if source != reference and not pinned(reference):  # a tag is what it was last fetched as
                name, tag = name_and_tag(reference)
                client.tag(source, name, tag, force=True)

    async def run_events(self, labels: Mapping[str, str], heard: Callable[[], None]) -> None:
        """Call `heard` once listening, then for every change of a container with these labels. Raises when it ends."""
        client, stream = await self._run(partial(self._open_events, labels), abandon=False)
        try:
            heard()
            await anyio.to_thread.run_sync(partial(self._follow, stream, heard), abandon_on_cancel=True)
        finally:
            with suppress(
                OSError, AttributeError
            ):  # the engine has cut it already, and the SDK finds no socket to close
                stream.close()
            client.close()
        raise TransientError("the container engine ended its events", reason="EngineDown")

    async def close(self) -> None:
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def _begin_exec(self, container: str, command: list[str], client: Any) -> str:
        """Podman never says that a command nobody listens to has ended, so for it a thread listens until then."""
        if self._listens is None:
            self._listens = any(
                each.get("Name") == "Podman Engine" for each in client.version().get("Components") or ()
            )
        number = str(client.exec_create(container, command, stdout=self._listens, stderr=False)["Id"])
        if self._listens:
            begun = threading.Event()
            threading.Thread(target=self._listen, args=(number, begun), name="probe", daemon=True).start()
            begun.wait(TIMEOUT_S)
        else:
            client.exec_start(number, detach=True)
        return number

    def _listen(self, number: str, begun: threading.Event) -> None:
        try:
            with suppress(ProviderError), self._client() as client:  # what became of it is asked for apart
                said = client.exec_start(number, socket=True)
                begun.set()  # before, an engine would tell of a command that has ended well
                with closing(said._sock), closing(said):  # the SDK would leave it open
                    while said.read(MAX_TEXT):
                        pass
        finally:
            begun.set()

    async def _call(self, action: Callable[[Any], T], *, abandon: bool = False) -> T:
        def call() -> T:
            with self._client() as client:
                return action(client)

        return await self._run(call, abandon=abandon)

    async def _run(self, call: Callable[[], T], *, abandon: bool) -> T:
        """Looks may be abandoned by a cancelled caller; what changes something is waited for."""
        return await anyio.to_thread.run_sync(call, abandon_on_cancel=abandon, limiter=self._limiter)

    def _reach(self) -> None:
        """See that somebody listens, before the SDK is loaded for it: it also leaks a socket when nobody does."""
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(self.url.removeprefix("unix://"))
            except OSError as error:
                raise self._down(error) from error

    @contextmanager
    def _client(self) -> Iterator[Any]:
        self._reach()
        with self._typed():
            client = self._idle.pop() if self._idle else self._connect()
            healthy = False
            try:
                yield client
                healthy = not self._closed
            finally:
                if healthy:
                    self._idle.append(client)
                else:
                    client.close()

    def _connect(self) -> Any:
        import docker  # see the module's docstring

        client = docker.APIClient(base_url=self.url, version=self._version, timeout=TIMEOUT_S)
        self._version = client.api_version
        return client

    def _open_events(self, labels: Mapping[str, str]) -> tuple[Any, Any]:
        self._reach()
        with self._typed():
            client = self._connect()
            filters = {"type": "container", "label": _pairs(labels)}
            return client, client.events(decode=True, filters=filters)

    def _follow(self, stream: Any, heard: Callable[[], None]) -> None:
        with self._typed():
            for event in stream:
                if not str(event.get("Action") or event.get("status") or "").startswith(_IGNORED):
                    anyio.from_thread.run_sync(heard)

    @contextmanager
    def _typed(self) -> Iterator[None]:
        import docker.errors
        import urllib3.exceptions

        try:
            yield
        except docker.errors.APIError as error:
            raise _refusal(error.status_code or 500, str(error.explanation or error)[:MAX_TEXT]) from error
        except (docker.errors.DockerException, urllib3.exceptions.HTTPError, OSError) as error:
            raise self._down(error) from error

    def _down(self, error: Exception) -> TransientError:
        return TransientError(
            f"no container engine answers at {self.url}: {str(error)[:MAX_TEXT]}",
            reason="EngineDown",
            hint="start the engine, or correct its address in the agent's settings",
        )


def _refusal(status: int, text: str) -> ProviderError:
    """Return the error for an answer. What somebody at the site could clear away is worth another try."""
    if status == 404:
        return TransientError(text, reason="Gone")
    if status == 409:
        return TransientError(text, reason="Busy", after=1.0)
    if status < 500:
        return PermanentError(text, reason="EngineRefused")
    return TransientError(text, reason="EngineFailed")


def _pairs(labels: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in labels.items()]


def _look(client: Any, labels: Mapping[str, str], images: Sequence[str], mirrors: Mapping[str, str]) -> Sight:
    containers = []
    for listed in client.containers(all=True, filters={"label": _pairs(labels)}):
        with _gone_is_fine():
            containers.append(found(client.inspect_container(listed["Id"])))
    ids = {}
    for reference in dict.fromkeys(images):
        image = _image(client, reference, mirrors)
        if image is not None:
            ids[reference] = image.id
    return Sight(tuple(sorted(containers, key=lambda each: (each.name, each.id))), ids)


def _image(client: Any, reference: str, mirrors: Mapping[str, str]) -> Image | None:
    """A pinned image is the same whichever registry it came from; a tag fetched from a mirror has its own name too."""
    import docker.errors

    for name in dict.fromkeys([reference, mirrored(reference, mirrors)] if pinned(reference) else [reference]):
        try:
            inspected = client.inspect_image(name)
        except docker.errors.NotFound:
            continue
        user = str((inspected.get("Config") or {}).get("User") or "")
        return Image(image_id(inspected["Id"]), user, name)
    return None


def _tail(client: Any, container: str, lines: int) -> str:
    written: bytes = b""
    with _gone_is_fine():
        written = client.logs(container, tail=lines, timestamps=True)
    return str(written, "utf-8", "replace")


def _stop(client: Any, container: str, grace_s: int) -> None:
    with _gone_is_fine():
        client.stop(container, timeout=grace_s)


def _ensure_network(client: Any, name: str, labels: dict[str, str]) -> None:
    """Docker makes a second network of one name for whoever asks, and then knows neither by it."""
    with _NETWORKING:
        there = client.networks(names=[f"^{name}$"])
        if not there:
            client.create_network(name, driver="bridge", labels=labels)
        for each in sorted(there, key=lambda one: str(one.get("Created")))[1:]:
            _remove_idle_network(client, each["Id"])


def _connect(client: Any, network: str, container: str, aliases: list[str]) -> None:
    inspected = client.inspect_container(container)
    if network in ((inspected.get("NetworkSettings") or {}).get("Networks") or {}):
        client.disconnect_container_from_network(container, network)
    client.connect_container_to_network(container, network, aliases=aliases)


def _remove_idle_network(client: Any, name: str) -> None:
    import docker.errors

    with suppress(docker.errors.APIError):  # somebody is in it, or it is not there
        client.remove_network(name)


def _remove(client: Any, container: str, grace_s: int) -> None:
    import docker.errors

    with suppress(docker.errors.APIError):  # whatever keeps it from ending well, it goes now
        client.stop(container, timeout=grace_s)
    with _gone_is_fine():
        client.remove_container(container, force=True, v=True)


@contextmanager
def _gone_is_fine() -> Iterator[None]:
    import docker.errors

    with suppress(docker.errors.NotFound):
        yield
