"""The commands that README and docs show, as lines of words, with the page and line each stands on."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[2]
_INLINE: Final = re.compile(r"`((?:holdfast|holdfast-edge)(?: [^`]+)?)`")
_FENCED: Final = re.compile(r"(?:holdfast|holdfast-edge) .*")


ELSEWHERE: Final = {  # commands that other tests run, by the text a page shows: where
    'holdfast-edge reboot --reason "new fan"': "tests/system/test_reboot_site.py",
    "holdfast ingest test RULES SAMPLE": "tests/component/test_ingest_cli.py",
    "holdfast override adopt ID": "tests/system/test_overrides.py",
    "holdfast override drop ID": "tests/system/test_overrides.py",
    "holdfast up --data-dir /var/lib/holdfast-hub": "tests/support/fleet.py",
    "holdfast up --telemetry http://127.0.0.1:4318": "tests/component/test_telemetry.py",
}


class Shown(NamedTuple):
    place: str  # page:line
    text: str


def pages() -> list[Path]:
    """Return the pages that tell people what to type; decisions and the changelog tell what was."""
    return [ROOT / "README.md", *(path for path in sorted((ROOT / "docs").glob("*.md")) if path.stem != "changelog")]


def commands_shown() -> Iterator[Shown]:
    """Give every command of both programs, those within a line and those in blocks."""
    for page in pages():
        fenced = False
        for number, line in enumerate(page.read_text().splitlines(), 1):
            if line.startswith("```"):
                fenced = not fenced
                continue
            found = [line.strip()] if fenced and _FENCED.fullmatch(line.strip()) else []
            for text in found if fenced else _INLINE.findall(line):
                yield Shown(f"{page.name}:{number}", text.partition(" #")[0].strip())
