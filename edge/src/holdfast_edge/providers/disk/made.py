"""Folders made on the way: gone with the last thing of ours below them, left as soon as they hold anything else."""

import errno
import os
from contextlib import suppress
from typing import Final

import msgspec

from holdfast_edge.providers.disk.descent import Roots
from holdfast_edge.providers.disk.ledger import Entry, Ledger

_IN_USE: Final = {errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY}


def remove_made(ledger: Ledger, roots: Roots, entry: Entry) -> None:  # [inv: only-owned-things-are-removed]
    """Remove the folders `entry` made that are empty. Blocking; raises OSError, and ProviderError for an unsafe way."""
    for made in reversed(entry.made):
        place = roots.place(made)
        try:
            with suppress(FileNotFoundError), roots.parent(place) as folder:
                with suppress(FileNotFoundError):
                    os.rmdir(place.name, dir_fd=folder)
                os.fsync(folder)  # before the ledger forgets it, also what an earlier attempt removed
        except OSError as error:
            if error.errno not in _IN_USE:
                raise  # the disk refuses: it is still ours to remove
            _bequeath(ledger, made, entry.path)


def _bequeath(ledger: Ledger, made: str, path: str) -> None:
    for heir in ledger.entries.values():
        if heir.path != path and heir.path.startswith(made + "/"):
            if made not in heir.made:
                ledger.put(msgspec.structs.replace(heir, made=tuple(sorted((*heir.made, made), key=len))))
            return
