"""What a person reads first in an ejected folder. Names in it are those of resources: letters, digits, hyphens."""

from collections.abc import Sequence

from holdfast_hub.blueprint.leaving.room import Left

_TEXT = """\
# {name}

What the instance {name} of the blueprint {blueprint} was on its sites, as plain files that need nothing of Holdfast.

    sh install.sh --dry-run      # what it would do
    sh install.sh                # do it, as root; again after every change of this folder
    sh install.sh --uninstall    # take everything back

It needs a Linux with systemd, a POSIX shell and the programs it names when one is missing; it checks for them before it
changes anything. What it changes it records in `/var/lib/ejected/{name}`, and what stood there before comes back.

**On a machine that Holdfast still keeps**, stop and remove the agent first: it would undo what the script does. Containers
it made are called `hf-...`, files and tables of it `holdfast-...`: remove them, they are not recorded here.
{parts}"""


def readme(
    name: str,
    blueprint: str,
    left: Sequence[Left],
    private: Sequence[str],
    remarks: Sequence[str],
    *,
    undecided: str,
    compose: str,
) -> str:
    """Return the text; `undecided` and `compose` are names of files, "" for none."""
    parts = []
    if left or undecided:
        lines = [f"- {each.key}: {each.why}" for each in left]
        if undecided:
            lines.append(f"- what only a site decides: see `{undecided}`, it is not in this folder")
        parts.append("## Not installed by the script\n\n" + "\n".join(lines) + "\n")
    if private:
        lines = [f"- `{path}`" for path in private]
        parts.append(
            "## Secrets\n\nThese files hold secrets, for their owner only (0600; copy them with `cp -p`):\n\n"
            + "\n".join(lines)
            + "\n"
        )
    if compose:
        parts.append(
            f"## Containers\n\n`install.sh` makes them by plain calls of docker or podman. `{compose}` says the same for\n"
            "docker compose, but for what its head names: `sh install.sh --no-containers && docker compose up --detach`.\n"
        )
    if remarks:
        parts.append("## Good to know\n\n" + "\n".join(f"- {each}" for each in dict.fromkeys(remarks)) + "\n")
    return _TEXT.format(name=name, blueprint=blueprint, parts="".join(f"\n{part}" for part in parts))
