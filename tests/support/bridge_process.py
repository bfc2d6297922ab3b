"""The bridges kept in a folder, run by a process that a test may kill: `python -m support.bridge_process FOLDER HOST PORT`."""

import sys
from pathlib import Path

import anyio

from holdfast_edge.ingest.bridges import run_bridges
from holdfast_edge.ingest.tee import Tee
from holdfast_edge.store.bridges import Bridges
from holdfast_protocol.kinds.bridge import Place
from holdfast_protocol.runtime import paho
from support.bridges import Sink
from support.sources import Hasty


async def run(folder: Path, host: str, port: int) -> None:
    await run_bridges(Bridges(folder), paho.dial, Tee(Sink()), Hasty(), Place("site-1", "node-1", host, port))


if __name__ == "__main__":
    anyio.run(run, Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
