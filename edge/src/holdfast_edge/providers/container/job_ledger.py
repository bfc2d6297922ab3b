"""The ledger of Jobs: one small file each, written before the effect it tells of. Blocking: call from a thread."""

import os
from pathlib import Path

import msgspec

from holdfast_edge.providers.container.runs import History
from holdfast_edge.providers.disk.failures import provider_error
from holdfast_edge.providers.disk.replace import remove_name, replace_file, temporary_name


class JobLedger:
    """A damaged file is set aside as `*.damaged`: the containers that are there tell what they can."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, name: str) -> History | None:
        """Return what is written down; None when nothing is. Raises ProviderError."""
        file = self._folder / f"{name}.json"
        try:
            return msgspec.json.decode(file.read_bytes(), type=History)
        except FileNotFoundError:
            return None
        except (msgspec.DecodeError, UnicodeDecodeError):
            file.rename(file.with_suffix(".damaged"))
            return None
        except OSError as error:
            raise provider_error(error, str(file)) from error

    def write(self, name: str, history: History) -> None:
        """Durable on return. Raises ProviderError."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                replace_file(fd, f"{name}.json", msgspec.json.encode(history), mode=0o600)
            finally:
                os.close(fd)
        except OSError as error:
            raise provider_error(error, str(self._folder)) from error

    def forget(self, name: str) -> None:
        """Absent already is success. Raises ProviderError."""
        try:
            fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            remove_name(fd, f"{name}.json")
            remove_name(fd, temporary_name(f"{name}.json"))
            os.fsync(fd)
        except OSError as error:
            raise provider_error(error, str(self._folder)) from error
        finally:
            os.close(fd)
