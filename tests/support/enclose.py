"""The first process of a lighter site's namespaces: `python enclose.py READY_FILE` empties `/srv` and says so.

It ends, and everything in its namespaces with it, when its standard input does: with whoever made the site, however that ends.
"""

import signal
import subprocess
import sys
from pathlib import Path


def main(ready: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "holdfast-site", "/srv"], check=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # orphans become its children, and end without being waited for
    Path(ready).touch()
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
