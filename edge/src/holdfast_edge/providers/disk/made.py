"""Folders made on the way: gone with the last thing of ours below them, left as soon as they hold anything else."""

import os

import msgspec

from holdfast_edge.providers.disk.descent import Roots
from holdfast_edge.providers.disk.ledger import Entry, Ledger


def remove_made(ledger: Ledger, roots: Roots, entry: Entry) -> None:  # [inv: only-owned-things-are-removed]
    """Remove the folders `entry` made that are empty. Blocking; raises ProviderError for a way that is not safe."""
    for made in reversed(entry.made):
        place = roots.place(made)
        try:
            with roots.parent(place) as folder:
                os.rmdir(place.name, dir_fd=folder)
                os.fsync(folder)  # before the ledger forgets it
        except FileNotFoundError:
            continue
        except OSError:  # not empty: another thing of ours below inherits it, or it is somebody's by now
            _bequeath(ledger, made, entry.path)


def _bequeath(ledger: Ledger, made: str, path: str) -> None:
    for heir in ledger.entries.values():
        if heir.path != path and heir.path.startswith(made + "/"):
            if made not in heir.made:
                ledger.put(msgspec.structs.replace(heir, made=tuple(sorted((*heir.made, made), key=len))))
            return
