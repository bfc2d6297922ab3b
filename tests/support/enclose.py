"""The first process of a lighter site's namespaces: `python enclose.py READY_FILE` empties `/srv`, says so, and stays."""

import signal
import subprocess
import sys
from pathlib import Path


def main(ready: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "holdfast-site", "/srv"], check=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # orphans become its children, and end without being waited for
    Path(ready).touch()
    while True:
        signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
