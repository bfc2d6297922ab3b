"""`scripts/demo`: the main job on this machine, shown and verified."""

import argparse
import json
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from demo import sites, story
from demo.commands import BIN, Hub
from demo.screen import Screen


def main() -> int:
    """Tell the story; return 0 only when every step of it was verified."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description="Show Holdfast's main job, from end to end.")
    parser.add_argument("--exit", action="store_true", help="end after the story instead of staying up")
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON object on standard output")
    parser.add_argument("--lighter", action="store_true", help="plain processes even where machines could be booted")
    options = parser.parse_args()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, _end)
    screen = Screen(to_stderr=options.json)
    try:
        return _show(screen, options)
    except KeyboardInterrupt:
        screen.console.print("ended by hand")
        return 130


def _show(screen: Screen, options: argparse.Namespace) -> int:
    with ExitStack() as everything:
        everything.enter_context(screen.taking_down())
        folder = Path(everything.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-demo-")))
        hub = Hub(folder / "hub")
        standing: list[sites.Site] = []
        words = ""
        try:
            ground = everything.enter_context(sites.ground(folder / "sites", lighter=options.lighter))
            words = ground.words
            everything.callback(hub.stop)
            story.tell(screen, hub, ground, folder, standing)
        except (RuntimeError, TimeoutError, OSError, LookupError, ValueError) as error:
            screen.failed(error, {"hub": hub.last_words(), **{site.name: site.agent_log() for site in standing}})
        screen.show_summary()
        if options.json:
            print(json.dumps(screen.summary(sites=words)), flush=True)
        if screen.verified and not options.exit:
            _stay(screen, hub, standing)
        everything.callback(_finish_in_peace)
    return 0 if screen.verified else 1


def _stay(screen: Screen, hub: Hub, standing: list[sites.Site]) -> None:
    """Leave everything up until ^C."""
    say = screen.console.print
    say("\nEverything stays up until ^C. In another terminal:", style="bold")
    say(f"  export HOLDFAST_SOCKET={hub.socket} PATH={BIN}:$PATH", soft_wrap=True)
    say("  holdfast get sites; holdfast describe site lyon; holdfast readings --site turin")
    say("  holdfast site label osaka stage=test; holdfast delete instance inspection-west")
    for site in standing:
        say(f"  {site.way_in()}   # {site.name}", soft_wrap=True)
        site.start_devices(story.devices_of(site), story.EVERY_MS)
    try:
        signal.pause()
    except KeyboardInterrupt:
        say("taking everything down")


def _end(*_: object) -> None:
    """End the story, once: what follows is taking down, and that is not to be interrupted."""
    _finish_in_peace()
    raise KeyboardInterrupt


def _finish_in_peace() -> None:
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
