"""Probes: when they are due, what their results mean, and how they are asked."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import pytest

from holdfast_edge.providers.container.asking import Asker, Subject
from holdfast_edge.providers.container.prober import Prober
from holdfast_edge.providers.container.probes import Probes, Restarts, Run
from holdfast_protocol.errors import TransientError
from holdfast_protocol.kinds.pods.podspec import (
    Container,
    ExecAction,
    HttpGetAction,
    HttpHeader,
    Probe,
    TcpSocketAction,
)
from holdfast_protocol.wire.names import ResourceKey
from support.clock import FakeClock, Running, eventually

KEY = ResourceKey("Deployment/vision")


def probe(**fields: Any) -> Probe:
    return Probe(exec_=ExecAction(command=["true"]), **fields)


def kinds(run: Run, now: float) -> list[str]:
    return [kind for kind, _ in run.due(now)]


def test_without_probes_a_container_is_ready_when_it_runs() -> None:
    run = Run(Probes(), 100.0)
    assert (run.started, run.ready, run.alive) == (True, True, True)
    assert run.next_due == math.inf


def test_a_probe_is_due_after_its_delay_and_then_each_period_and_never_twice_at_once() -> None:
    run = Run(Probes(readiness=probe(initial_delay_seconds=5, period_seconds=7)), 100.0)
    assert kinds(run, 104.9) == []
    assert run.next_due == 105.0
    assert kinds(run, 105.0) == ["readiness"]
    assert kinds(run, 200.0) == [], "the answer has not come yet"
    run.record("readiness", "", 106.0)
    assert run.next_due == 113.0


def test_readiness_takes_as_many_successes_and_failures_in_a_row_as_its_thresholds() -> None:
    run = Run(Probes(readiness=probe(success_threshold=2, failure_threshold=3)), 0.0)
    list(run.due(0.0))
    seen = []
    for failure in ("", "x", "", "", "x", "x", "", "x", "x", "x", ""):
        run.record("readiness", failure, 1.0)
        seen.append(run.ready)
    assert seen == [False, False, False, True, True, True, True, True, True, False, False]
    assert run.was_ready
    assert run.alive


def test_nothing_else_is_asked_before_the_startup_probe_has_passed() -> None:
    probes = Probes(
        startup=probe(period_seconds=1, failure_threshold=3),
        liveness=probe(),
        readiness=probe(initial_delay_seconds=60),
    )
    run = Run(probes, 0.0)
    assert kinds(run, 100.0) == ["startup"]
    run.record("startup", "not yet", 100.0)
    assert kinds(run, 101.0) == ["startup"]
    run.record("startup", "", 101.0)
    assert (run.started, run.ready) == (True, False)
    assert sorted(kinds(run, 101.0)) == ["liveness", "readiness"]


@pytest.mark.parametrize("kind", ["startup", "liveness"])
def test_a_container_whose_startup_or_liveness_fails_often_enough_is_to_be_restarted(kind: Any) -> None:
    run = Run(Probes(**{kind: probe(failure_threshold=2)}), 0.0)
    for alive in (True, False):
        list(run.due(1e9))
        run.record(kind, "exit code 1", 1.0)
        assert run.alive is alive
    assert run.next_due == math.inf, "nothing is asked until it was restarted"
    assert run.why == f"{kind} probe: exit code 1"


def test_changed_probes_need_no_restart() -> None:
    run = Run(Probes(readiness=probe()), 0.0)
    list(run.due(0.0))
    assert not run.use(Probes(readiness=probe()))
    assert run.use(Probes())
    assert run.ready
    assert run.next_due == math.inf
    assert run.use(Probes(liveness=probe(initial_delay_seconds=1)))
    assert run.next_due == 1.0
    run.record("readiness", "an answer to a probe that is gone", 2.0)
    assert run.ready


def test_restarts_back_off_and_are_forgiven() -> None:
    restarts = Restarts()
    assert restarts.due_at(1000.0) == 1000.0
    delays = []
    now = 1000.0
    for _ in range(8):
        restarts.note(now)
        due = restarts.due_at(now)
        delays.append(due - now)
        now = due
    assert delays == [10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0, 300.0]
    assert restarts.due_at(now + 601.0) == now + 601.0


class FakeEngine:
    """Commands that end when told to."""

    def __init__(self) -> None:
        self.begun = 0
        self.answered = 0
        self.code: int | None = 0
        self.error: TransientError | None = None
        self.forgotten: set[str] = set()

    async def begin_exec(self, container: str, command: list[str]) -> str:
        if self.error:
            raise self.error
        self.begun += 1
        return str(self.begun)

    async def exec_result(self, number: str) -> int | None:
        await anyio.lowlevel.checkpoint()
        if number in self.forgotten:
            raise TransientError(f"No such exec instance: {number}", reason="Gone")
        self.answered += 1
        return self.code


def subject(**fields: Any) -> Subject:
    return Subject(**{"id": "x", "container": Container(name="a", image="b"), "address": "", "bindings": {}, **fields})


@asynccontextmanager
async def server(answer: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Serve one answer to all on a port of 127.0.0.1, and keep what was asked."""
    asked: list[bytes] = []

    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            asked.append(await stream.receive())
            await stream.send(answer)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        yield listener.extra(anyio.abc.SocketAttribute.local_port), asked
        group.cancel_scope.cancel()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", ""),
        (b"HTTP/1.0 302 Found\r\n\r\n", ""),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "HTTP status 404"),
        (b"HTTP/1.1 500 Oh\r\n\r\n", "HTTP status 500"),
        (b"SSH-2.0-x\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 +20\r\n", "the answer is not HTTP"),
        (b"x" * 100_000, "the answer is not HTTP"),
        (b"", "the connection was cut"),
    ],
)
async def test_an_http_probe_goes_by_the_status(answer: bytes, failure: str) -> None:
    asker = Asker(FakeEngine())  # type: ignore[arg-type]
    async with server(answer) as (port, asked):
        action = HttpGetAction(port=port, path="health?x=1", http_headers=[HttpHeader(name="X-A", value="b")])
        question = Probe(http_get=action, timeout_seconds=5)
        assert await asker.failure(subject(address="127.0.0.1"), "readiness", question) == failure
        published = subject(bindings={f"{port}/tcp": port})
        assert await asker.failure(published, "readiness", question) == failure
    assert asked[0].startswith(b"GET /health?x=1 HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nX-A: b\r\n" in asked[0]


@pytest.mark.anyio
async def test_a_tcp_probe_wants_a_listener_and_a_container_without_address_says_so() -> None:
    asker = Asker(FakeEngine())  # type: ignore[arg-type]
    async with server(b"") as (port, _):
        question = Probe(tcp_socket=TcpSocketAction(port=str(port)))
        assert await asker.failure(subject(address="127.0.0.1"), "readiness", question) == ""
    assert await asker.failure(subject(address="127.0.0.1"), "readiness", question) != ""
    assert "no address" in await asker.failure(subject(), "readiness", question)


@pytest.mark.anyio
async def test_a_command_that_never_ends_fails_its_probe_and_is_not_joined_by_others() -> None:
    engine = FakeEngine()
    engine.code = None
    asker = Asker(engine)  # type: ignore[arg-type]
    brief: Any = 0.02
    assert await asker.failure(subject(), "liveness", probe(timeout_seconds=brief)) == "no answer within 0.02 s"
    assert await asker.failure(subject(), "liveness", probe()) == "the command before it still runs"
    assert engine.begun == 1
    engine.code = 3
    assert await asker.failure(subject(), "liveness", probe()) == "exit code 3"
    engine.error = TransientError("no such container")
    assert await asker.failure(subject(), "liveness", probe()) == "no such container"


@pytest.mark.anyio
async def test_a_command_the_engine_has_forgotten_holds_up_no_later_one() -> None:
    """An engine that was started again, or has started the container again, knows nothing of it."""
    engine = FakeEngine()
    engine.code = None
    asker = Asker(engine)  # type: ignore[arg-type]
    brief: Any = 0.02
    assert await asker.failure(subject(), "liveness", probe(timeout_seconds=brief)) == "no answer within 0.02 s"
    engine.forgotten.add("1")
    engine.code = 0
    assert await asker.failure(subject(), "liveness", probe()) == ""
    assert engine.begun == 2
    engine.forgotten.add("3")
    assert await asker.failure(subject(), "liveness", probe()) == "the engine has lost its command"
    assert await asker.failure(subject(), "liveness", probe()) == ""


@pytest.mark.anyio
async def test_commands_of_containers_that_are_gone_are_forgotten() -> None:
    engine = FakeEngine()
    engine.code = None
    asker = Asker(engine)  # type: ignore[arg-type]
    brief: Any = 0.02
    for number in range(5):
        await asker.failure(subject(id=f"c{number}"), "liveness", probe(timeout_seconds=brief))
    for number in range(4):
        asker.forget(f"c{number}")
    assert await asker.failure(subject(id="c4"), "liveness", probe()) == "the command before it still runs"
    engine.code = 0
    assert await asker.failure(subject(id="c1"), "liveness", probe()) == "", "nothing is remembered of it"
    assert engine.begun == 6


@pytest.mark.anyio
async def test_the_prober_wakes_when_an_answer_changes_something_and_only_then() -> None:
    engine, clock = FakeEngine(), FakeClock()
    prober = Prober(engine, clock)  # type: ignore[arg-type]
    wakes = 0

    def wake() -> None:
        nonlocal wakes
        wakes += 1

    def follow() -> Any:
        probes = Probes(readiness=probe(failure_threshold=1), liveness=probe(failure_threshold=2))
        return prober.follow(KEY, "hf-vision", clock.wall(), subject(), probes)

    started = clock.wall()
    clock_started = subject()

    def verdict() -> Any:
        return prober.known(KEY, clock_started.id, started)

    async def answers(count: int) -> None:
        """Wait until so many are taken down: a clock moved before that would make the next probe due later."""
        await eventually(lambda: engine.answered == count)
        for _ in range(100):  # no thread and no timer is between: after so many turns all is done
            await anyio.lowlevel.checkpoint()
        assert engine.answered == count

    async with Running(lambda: prober.run(wake)):
        assert not follow().ready
        await eventually(lambda: verdict().ready)
        await answers(2)
        assert wakes == 1

        clock.advance(10)
        await answers(4)
        assert wakes == 1

        engine.code = 1
        clock.advance(10)
        await answers(6)
        assert not verdict().ready
        assert verdict().was_ready
        assert verdict().restart_at == 0.0
        clock.advance(10)
        await answers(8)
        assert verdict().restart_at, "the second failure of two"
        assert verdict().restart_at <= clock.boottime(), "the first restart is due at once"

        prober.note_restart(KEY, "hf-vision")
        assert verdict().restart_at == clock.boottime() + 10.0
        before = wakes
        clock.advance(10)
        await eventually(lambda: wakes > before, "to be woken for the next restart")

        prober.keep_resources(set())
        assert verdict() is None
