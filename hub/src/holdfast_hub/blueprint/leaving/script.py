"""install.sh: the parts that are always the same, and between them what this folder installs, line by line."""

from collections.abc import Sequence
from typing import Final

from holdfast_hub.blueprint.leaving.room import CONTAINERS, Step
from holdfast_hub.blueprint.leaving.script_engine import ENGINE
from holdfast_hub.blueprint.leaving.script_frame import FRAME, MAIN
from holdfast_hub.blueprint.leaving.script_people import PEOPLE
from holdfast_hub.blueprint.leaving.script_verbs import MACHINE
from holdfast_hub.blueprint.leaving.shell import call, word

_HEAD: Final = """\
#!/bin/sh
# Installs on this machine what this folder holds, with the machine's own programs. sh install.sh --help
"""
_WHOLE: Final = """\
#!/bin/sh
# Installs everything in the folders beside this file, one after the other. Options as of their install.sh.
set -eu
cd -- "$(dirname -- "$0")"
back=no
for option in "$@"; do
  case $option in
    --uninstall) back=yes ;;
  esac
done
"""


def script(name: str, steps: Sequence[Step], images: Sequence[str], remarks: Sequence[str], *, people: bool) -> str:
    """Return the script of one folder."""
    ordered = sorted(steps, key=lambda step: step.rank)
    containers = bool(images)
    parts = [_HEAD, f"NAME={word(name)}\n", FRAME, MACHINE]
    parts += [ENGINE] if containers else []
    parts += [PEOPLE] if people else []
    needs = sorted({program for step in ordered for program in step.needs})
    parts.append(_function("programs", [f"need {program}" for program in needs]))
    parts.append(_function("images", images))
    if not containers:
        parts.append("\nengine() { :; }\nCONTAINERS=no\n")
    plain = [line for step in ordered if step.rank < CONTAINERS for line in step.calls]
    engine = [line for step in ordered if step.rank == CONTAINERS for line in step.calls]
    after = [line for step in ordered if step.rank > CONTAINERS for line in step.calls]
    parts.append(_function("pods", engine))
    parts.append(_function("plan", [*plain, 'if [ "$CONTAINERS" = yes ]; then pods; fi', *after]))
    parts.append(_function("remarks", [call("say", each) for each in dict.fromkeys(remarks)]))
    return "".join([*parts, MAIN])


def of_folders(names: Sequence[str]) -> str:
    """Return a script that has the scripts of these folders run in order, backwards to take back."""
    forth = " ".join(map(word, names))
    back = " ".join(map(word, reversed(names)))
    return (
        _WHOLE
        + f'folders() {{ if [ "$back" = yes ]; then printf "%s\\n" {back}; else printf "%s\\n" {forth}; fi; }}\n'
        + 'folders | while IFS= read -r folder; do\n  printf "%s:\\n" "$folder"\n'
        + '  sh "./$folder/install.sh" "$@" </dev/null\ndone\n'
    )


def _function(name: str, lines: Sequence[str]) -> str:
    body = "".join(f"  {line}\n" for line in lines) or "  :\n"
    return f"\n{name}() {{\n{body}}}\n"
