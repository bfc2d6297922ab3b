"""Images: there, or fetched in the background, so that a slow link holds up one container and nothing else."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final

import anyio.to_thread

from holdfast_edge.providers.container.engine import Engine, Image
from holdfast_protocol.errors import PermanentError, ProviderError, TransientError
from holdfast_protocol.kinds.pods.pull_secrets import Login
from holdfast_protocol.kinds.pods.specification import ContainerPlan

NOBODY: Final[Mapping[str, Login]] = MappingProxyType({})
MANY: Final = 64
WAIT_S: Final = 15.0  # for a pull, before others have their turn
FRESH_S: Final = 900.0  # that the end of a pull waits for who wanted it: longer than anybody does between two tries


def _boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class _Pull:
    """One fetch in a thread of its own, which dies with the process: the engine keeps the layers that came."""

    def __init__(
        self,
        engine: Engine,
        reference: str,
        logins: Mapping[str, Login],
        turns: threading.Semaphore,
        clock: Callable[[], float],
    ) -> None:
        self.done = threading.Event()
        self.ended_at = 0.0
        self.error: ProviderError | None = None
        self.progress = "waits for others to be fetched"
        self._engine = engine
        self._reference = reference
        self._logins = logins
        self._turns = turns
        self._clock = clock
        threading.Thread(target=self._run, name=f"pull {reference[:40]}", daemon=True).start()

    def _run(self) -> None:
        try:
            with self._turns:
                self.progress = ""
                self._engine.pull(self._reference, self._logins, self._said)
        except ProviderError as error:
            self.error = error
        finally:
            self.ended_at = self._clock()
            self.done.set()

    def _said(self, line: str) -> None:
        self.progress = line


class Images:
    def __init__(
        self, engine: Engine, turns: threading.Semaphore | None = None, clock: Callable[[], float] = _boottime
    ) -> None:
        """Who fetches waits for one of `turns`, which others may share; without, for nobody. `clock`: seconds."""
        self._clock = clock
        self._engine = engine
        self._turns = turns or threading.Semaphore(MANY)
        self._pulls: dict[str, _Pull] = {}

    async def ensure(
        self, plan: ContainerPlan, logins: Mapping[str, Login] = NOBODY, wait_s: float | None = WAIT_S
    ) -> str:
        """Return the name of a container's image at the engine, when it is here as its pull policy wants it.

        `wait_s`: for a pull, None for as long as one that goes on takes.
        Always means: newer if a registry answers. A site cut off runs what it has. Raises TransientError (ImageAbsent,
        ImagePulling), PermanentError (RunsAsRoot) for an image whose own user is root where that is not wanted.
        """
        image = await self._engine.image(plan.image)
        if plan.pull == "Always" or (image is None and plan.pull == "IfNotPresent"):
            error = await self._pulled(plan.image, logins, wait_s)
            image = await self._engine.image(plan.image)
            if image is None:
                raise _absent(plan, error.message if error else "it was pulled and is gone")
        elif image is None:
            raise _absent(plan, "its pull policy is Never")
        _check_user(plan, image)
        return image.name

    def progress(self, references: Iterable[str]) -> dict[str, str]:
        """Return what is being pulled of these images, and how far it is."""
        return {each: self._pulls[each].progress for each in references if each in self._pulls}

    async def _pulled(self, reference: str, logins: Mapping[str, Login], wait_s: float | None) -> ProviderError | None:
        """Return what went wrong, None for a pull that ended well."""
        stale = self._clock() - FRESH_S
        for name in [name for name, each in self._pulls.items() if each.done.is_set() and each.ended_at < stale]:
            del self._pulls[name]  # nobody came back for it
        pull = self._pulls.get(reference)
        if pull is None:
            pull = self._pulls[reference] = _Pull(self._engine, reference, logins, self._turns, self._clock)
        if not await anyio.to_thread.run_sync(pull.done.wait, wait_s, abandon_on_cancel=True):
            raise TransientError(
                f"image {reference} is being pulled: {pull.progress or 'no answer yet'}",
                reason="ImagePulling",
                after=2.0,
            )
        self._pulls.pop(reference, None)
        return pull.error


def _absent(plan: ContainerPlan, why: str) -> TransientError:
    return TransientError(
        f"image {plan.image} is not here: {why}",
        reason="ImageAbsent",
        hint=f"load it at the site (docker load), or make a registry that has {plan.image} reachable",
    )


def _check_user(plan: ContainerPlan, image: Image) -> None:
    if not plan.non_root:
        return
    user = image.user.partition(":")[0]
    if not user.isdigit() or int(user) == 0:
        raise PermanentError(
            f"container {plan.container} must not run as root, and the user of {plan.image} is {image.user or 'root'!r}",
            reason="RunsAsRoot",
            hint="set securityContext.runAsUser",
        )
