"""Looks at the disk take turns, and none waits for one that does not end."""

import threading

import anyio
import pytest

from holdfast_edge.providers.disk import turns
from holdfast_edge.providers.disk.turns import in_turn
from support.waiting import HANGS_S, until


@pytest.mark.anyio
async def test_looks_go_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "PATIENCE", 30.0)
    at_once, most = [0], [0]
    lock = threading.Lock()

    def look() -> None:
        with lock:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        threading.Event().wait(0.002)  # lets go of the interpreter, as a question to the kernel does
        with lock:
            at_once[0] -= 1

    async with anyio.create_task_group() as group:
        for _ in range(6):
            group.start_soon(in_turn, look)
    assert most == [1]


@pytest.mark.anyio
async def test_a_look_that_does_not_end_holds_up_no_other() -> None:
    held, begun = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        held.wait(HANGS_S)

    async with anyio.create_task_group() as group:
        group.start_soon(in_turn, hang)
        await anyio.to_thread.run_sync(lambda: until(begun.is_set, HANGS_S, "the look to hang"))
        with anyio.fail_after(HANGS_S):
            assert await in_turn(lambda: "seen") == "seen"
            assert await in_turn(lambda: "seen again") == "seen again"
        held.set()


@pytest.mark.anyio
async def test_a_look_that_fails_or_is_given_up_passes_its_turn_on() -> None:
    def fail() -> None:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        await in_turn(fail)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await in_turn(lambda: None)
    with anyio.fail_after(HANGS_S):
        assert await in_turn(lambda: "seen") == "seen"
