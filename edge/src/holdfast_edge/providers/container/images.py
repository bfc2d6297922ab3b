"""Images: there, or fetched in the background, so that a slow link holds up one container and nothing else."""

import threading
from typing import Final

import anyio.to_thread

from holdfast_edge.providers.container.engine import Engine, Image
from holdfast_edge.providers.container.specification import ContainerPlan
from holdfast_protocol.errors import PermanentError, ProviderError, TransientError

WAIT_S: Final = 15.0  # for a pull, before others have their turn


class _Pull:
    """One fetch in a thread of its own, which dies with the process: the engine keeps the layers that came."""

    def __init__(self, engine: Engine, reference: str) -> None:
        self.done = threading.Event()
        self.error: ProviderError | None = None
        self.progress = ""
        self._engine = engine
        self._reference = reference
        threading.Thread(target=self._run, name=f"pull {reference[:40]}", daemon=True).start()

    def _run(self) -> None:
        try:
            self._engine.pull(self._reference, self._said)
        except ProviderError as error:
            self.error = error
        finally:
            self.done.set()

    def _said(self, line: str) -> None:
        self.progress = line


class Images:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._pulls: dict[str, _Pull] = {}

    async def ensure(self, plan: ContainerPlan) -> None:
        """Return when a container's image is here as its pull policy wants it.

        Always means: newer if a registry answers. A site cut off runs what it has. Raises TransientError (ImageAbsent,
        ImagePulling), PermanentError (RunsAsRoot) for an image whose own user is root where that is not wanted.
        """
        image = await self._engine.image(plan.image)
        if plan.pull == "Always" or (image is None and plan.pull == "IfNotPresent"):
            error = await self._pulled(plan.image)
            image = await self._engine.image(plan.image)
            if image is None:
                raise _absent(plan, error.message if error else "it was pulled and is gone")
        elif image is None:
            raise _absent(plan, "its pull policy is Never")
        _check_user(plan, image)

    async def _pulled(self, reference: str) -> ProviderError | None:
        """Return what went wrong, None for a pull that ended well."""
        pull = self._pulls.get(reference)
        if pull is None:
            pull = self._pulls[reference] = _Pull(self._engine, reference)
        if not await anyio.to_thread.run_sync(pull.done.wait, WAIT_S, abandon_on_cancel=True):
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
