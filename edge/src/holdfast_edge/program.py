"""Program: where the agent's own code lies, for nobody to touch."""

import sys
from pathlib import Path

import holdfast_edge
import holdfast_protocol


def program_paths() -> tuple[Path, ...]:
    """Return the files and folders that the running agent is made of: its packages, its interpreter, its environment."""
    packages = [Path(each) for package in (holdfast_edge, holdfast_protocol) for each in package.__path__]
    environment = [Path(sys.prefix)] if sys.prefix != sys.base_prefix else []
    started = [Path(sys.argv[0])] if sys.argv and sys.argv[0].startswith("/") else []
    return (*packages, *environment, Path(sys.executable), *started)
