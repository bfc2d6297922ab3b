"""Memory that the agent has freed is the system's again."""

import subprocess
import sys

PROGRAM = """\
import sys
from pathlib import Path
from holdfast_edge.allocator import keep_little

def resident():
    line = next(row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith("VmRSS"))
    return int(line.split()[1]) // 1024

if sys.argv[1] == "tuned":
    keep_little()
large = bytearray(30 << 20)  # once freed, blocks up to this size are kept by a C library that was not told
del large
before = resident()
blocks = [b"x" * 100_000 for _ in range(200)]
del blocks
print(resident() - before)
"""


def grown(how: str) -> int:
    """Return the MiB a process holds more after it has freed 20 MiB of middling blocks."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_what_the_agent_frees_goes_back_to_the_system() -> None:
    assert grown("tuned") < 5 < grown("left alone")
