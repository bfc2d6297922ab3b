"""Enter control groups, then become a program: `python launch.py GROUP_FOLDER… -- PROGRAM ARGUMENT…`.

A program of its own, because a child must be in its groups before it runs, and a parent with threads cannot do that in a fork.
"""

import os
import sys
from pathlib import Path


def main(arguments: list[str]) -> None:
    end = arguments.index("--")
    for folder in arguments[:end]:
        Path(folder, "cgroup.procs").write_text(str(os.getpid()))
    program = arguments[end + 1 :]
    os.execvp(program[0], program)


if __name__ == "__main__":
    main(sys.argv[1:])
