"""Scratch: files that a program reads on trial, gone when it has; what a kill left of them goes before the next trial.

Blocking: call from a thread.
"""

import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from holdfast_edge.providers.disk import failures
from holdfast_edge.providers.disk.ledger import make_folder


class Scratch:
    """`folder`: where they are, nobody else's; it is made when it is needed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._swept = False

    @contextmanager
    def room(self) -> Iterator[Path]:
        """Yield a folder of its own, nobody else's to read. Raises ProviderError."""
        try:
            with self._lock:
                if not self._swept:
                    shutil.rmtree(self._folder, ignore_errors=True)
                    self._swept = True
                make_folder(self._folder)
            with tempfile.TemporaryDirectory(dir=self._folder) as made:
                yield Path(made)
        except OSError as error:
            raise failures.provider_error(error, str(self._folder)) from error
