"""The shipped commands, as a person types them: every step of the demo goes through these."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from support.waiting import until

BIN = Path(sys.prefix) / "bin"
EDGE = str(BIN / "holdfast-edge")


class CommandRefused(RuntimeError):
    """A command ended with a status that is no answer to the question asked."""


class Hub:
    """A hub of our own: `holdfast up` as a child, and `holdfast …` against its socket."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "hub.sock"
        self.log = folder / "hub.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, listen: str) -> None:
        """Start it with its broker at this ADDRESS:PORT; returns when it answers."""
        up = ["up", "--data-dir", str(self.folder / "data"), "--fleet", "demo", "--broker-listen", listen]
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", "--", *self._words(up)],  # not to outlive the demo
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # ^C at a terminal is for the demo, which then stops the hub
            )
        until(self._answers, 20, "the hub to answer")

    def stop(self) -> None:
        """End it, and wait until it has ended."""
        if self._process is None:
            return
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        self._process.kill()
        self._process.wait()
        self._process = None

    def last_words(self) -> str:
        """Return the end of what it wrote."""
        return self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""

    def call(self, *words: str, answers: Sequence[int] = (0,)) -> Any:
        """Run `holdfast WORDS -o json` and return what it printed; CommandRefused on a status not in `answers`."""
        done = self._run([*words, "-o", "json"], answers)
        return json.loads(done.stdout) if done.stdout.strip() else None

    def say(self, *words: str, answers: Sequence[int] = (0,)) -> str:
        """Run `holdfast WORDS` and return what a person would see."""
        return self._run(list(words), answers).stdout

    def add_site(self, name: str, zone: str, labels: dict[str, str], kit: Path, options: Sequence[str]) -> None:
        """Add a site; `options` say what its agent may do there."""
        words = [word for key, value in labels.items() for word in ("--label", f"{key}={value}")]
        self.say("site", "add", name, "--zone", zone, *words, "--kit", str(kit), *options)

    def sites(self) -> dict[str, dict[str, Any]]:
        return {site["name"]: site for site in self.call("get", "sites")["items"]}

    def apply(self, *files: Path) -> Any:
        return self.call("apply", *_files(files))

    def diff(self, *files: Path) -> tuple[Any, str]:
        """Return the difference as data, and as a person sees it."""
        words = ["diff", *_files(files)]
        return self.call(*words, answers=(0, 1)), self.say(*words, answers=(0, 1))

    def wait(self, kind: str, name: str, state: str, seconds: float) -> None:
        self.say("wait", f"{kind}/{name}", "--for", state, "--timeout", str(seconds))

    def readings(self, site: str) -> list[dict[str, Any]]:
        answer = self.call("readings", "--site", site, "--oldest-first", "--limit", "100000")
        items: list[dict[str, Any]] = answer["items"]
        return items

    def ledger(self, site: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.call("ledger", site, answers=(0, 1))
        return answer

    def eject(self, folder: Path) -> list[str]:
        answer = self.call("blueprint", "eject", "--output-dir", str(folder))
        files: list[str] = answer["files"]
        return files

    def _words(self, words: Sequence[str]) -> list[str]:
        return [str(BIN / "holdfast"), "--socket", str(self.socket), *words]

    def _run(self, words: list[str], answers: Sequence[int]) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self._words(words),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, "NO_COLOR": "1"},
        )
        if done.returncode not in answers:
            raise CommandRefused(f"holdfast {' '.join(words)}: status {done.returncode}: {done.stderr.strip()[-1500:]}")
        return done

    def _answers(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise CommandRefused("the hub ended")
        try:
            self.sites()
        except CommandRefused:
            return False
        return True


def _files(files: Sequence[Path]) -> list[str]:
    return [word for file in files for word in ("-f", str(file))]
