"""A site with an old and a good target, and how far a test takes it."""

from holdfast_protocol.errors import PermanentError
from holdfast_protocol.wire.messages import Progress
from holdfast_protocol.wire.target import Target
from support.builders import a_target, file_body
from support.clock import eventually
from support.site import TestSite

DENIED = PermanentError("not allowed", reason="Denied", hint="allow it")


def files(generation: int, **contents: str) -> Target:
    return a_target(*(file_body(name, f"/srv/{name}", text) for name, text in contents.items()), generation=generation)


GOOD, NEW, NEWER = files(1, a="1", b="1"), files(2, a="2", c="2"), files(3, a="3", c="3")


def progress(it: TestSite) -> Progress:
    status = it.site.board.status
    assert status is not None
    assert status.progress is not None
    return status.progress


async def at(it: TestSite, phase: str, generation: int) -> None:
    def there() -> bool:
        status = it.site.board.status
        return bool(status and status.progress and (status.generation, status.progress.phase) == (generation, phase))

    await eventually(there, f"generation {generation} {phase}")


async def settle(it: TestSite, target: Target = GOOD) -> None:
    await it.give(target)
    await at(it, "verifying", target.generation)
    await it.passes(60)
    await at(it, "stable", target.generation)


def world(it: TestSite) -> dict[str, str]:
    return {key: body["spec"]["content"] for key, body in it.provider.world.items()}


async def passes_until(it: TestSite, phase: str, generation: int = 2, turns: int = 40) -> None:
    """Let half minutes pass until the phase is there."""
    for _ in range(turns):
        await it.rests()
        status = it.site.board.status
        if status and status.progress and (status.generation, status.progress.phase) == (generation, phase):
            return
        it.clock.advance(30)
    await at(it, phase, generation)


def named(*names: str, generation: int = 1, content: str = "x") -> Target:
    return a_target(*(file_body(name, f"/srv/{name}", content) for name in names), generation=generation)
