"""One booted machine and the providers that run in it: asked and told from the test, killed when a test wants it."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support import machines
from support.machines import Machine
from support.waiting import BOOTED_S, until

TESTS = Path(__file__).resolve().parents[1]
Body = dict[str, Any]


class Refused(Exception):
    """A provider's error: the name of its type, its reason, its message."""

    def __init__(self, kind: str, reason: str, message: str) -> None:
        super().__init__(message)
        self.kind, self.reason, self.message = kind, reason, message


class Workbench:
    """Made by `workbench`. `hub` is where the agent would reach its hub."""

    def __init__(self, machine: Machine, hub: str) -> None:
        self.machine = machine
        self.hub = hub
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start the providers anew, as an agent is after a kill."""
        self.stop()
        words = ["nsenter", "-t", str(self.machine.leader), "-a", "--", sys.executable, "-m", "support.provider_inside"]
        self._process = subprocess.Popen(
            [*words, self.hub],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": str(TESTS), "LC_ALL": "C.UTF-8"},
        )

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _ask(self, verb: str, body: Body | None = None, **more: Any) -> Any:
        if self._process is None:
            self.start()
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"ask": verb, "body": body, **more}) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            assert "die" in more, f"the providers ended with status {process.wait()}"
            self.stop()
            return None
        answer = json.loads(line)
        if "error" in answer:
            raise Refused(*answer["error"])
        return answer["is"]

    def look(self, body: Body) -> dict[str, Any]:
        seen: dict[str, Any] = self._ask("observe", body)
        return seen

    def check(self, body: Body, scope: Sequence[Body] = ()) -> None:
        self._ask("check", body, scope=list(scope))

    def prepare(self, body: Body) -> None:
        self._ask("prepare", body)

    def apply(self, body: Body, *, scope: Sequence[Body] = (), previous: Body | None = None) -> None:
        self._ask("apply", body, scope=list(scope), previous=previous)

    def killed(self, verb: str, body: Body, at: str) -> None:
        """Have the providers die in the middle of `verb`, when they come to `at`, and start others."""
        self._ask(verb, body, die=at)
        assert self._process is None, f"{verb} went by {at}"

    def remove(self, body: Body) -> None:
        self._ask("remove", body)

    def woken(self) -> int:
        count: int = self._ask("woken")
        return count

    def converge(self, body: Body, *, scope: Sequence[Body] = (), previous: Body | None = None) -> dict[str, Any]:
        """Apply, and return what is seen once it is as wanted and ready."""
        self.apply(body, scope=scope, previous=previous)
        return self.settled(body)

    def settled(self, body: Body, within: float = BOOTED_S) -> dict[str, Any]:
        return self.until(
            body, lambda seen: seen["exists"] and not seen["differences"] and seen["readiness"] == "ready", within
        )

    def until(self, body: Body, fits: Callable[[dict[str, Any]], bool], within: float = BOOTED_S) -> dict[str, Any]:
        last: list[dict[str, Any]] = []

        def fit() -> bool:
            last[:] = [self.look(body)]
            return fits(last[0])

        try:
            until(fit, within, "the resource to be so")
        except TimeoutError as error:
            error.add_note(json.dumps(last))
            raise
        return last[0]

    def drifts(self, body: Body, change: Sequence[str], says: str, within: float = BOOTED_S) -> None:
        """Change something by hand; see that it wakes, that it is seen, and that applying makes it good."""
        before = self.woken()
        self.machine.run(change)
        until(lambda: self.woken() > before, within, "the drift to wake")
        self.until(body, lambda seen: any(says in each for each in seen["differences"]), within)
        self.converge(body)


@contextmanager
def workbench(name: str = "press-01") -> Iterator[Workbench]:
    """Boot one machine whose hub would be this host."""
    assert machines.why_not() == ""
    with machines.lab() as lab:
        hub = lab.hub_address()
        (machine,) = lab.boot(name)
        made = Workbench(machine, hub)
        try:
            yield made
        finally:
            made.stop()
