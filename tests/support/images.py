"""Container images made here, because a site cannot pull any: a static busybox and nothing else."""

import io
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from subprocess import CompletedProcess
from typing import Protocol

APPLETS = ("cat", "date", "echo", "env", "false", "httpd", "ls", "mkdir", "nc", "sh", "sleep", "test", "true", "wget")


class Runner(Protocol):
    """Something with an engine's client on it: a machine."""

    def run(self, arguments: Sequence[str], *, stdin: bytes | str = b"") -> CompletedProcess[str]: ...


def load(site: Runner, reference: str, files: Mapping[str, str] | None = None) -> None:
    """Give the site's engine an image `reference` that idles unless told otherwise."""
    command = 'CMD ["sh", "-c", "trap exit TERM; while true; do sleep 3600 & wait $!; done"]'
    site.run(["docker", "import", "--change", command, "-", reference], stdin=busybox_tar(files))


def busybox_tar(files: Mapping[str, str] | None = None) -> bytes:
    """Return the file system of an image as a tar: busybox, links for its applets, and these files (absolute path: content).

    The same files give the same bytes. FileNotFoundError without busybox (Debian: busybox-static).
    """
    busybox = shutil.which("busybox")
    if busybox is None:
        raise FileNotFoundError("busybox is not installed (Debian: busybox-static)")
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for folder in ("bin", "etc", "proc", "sys", "dev", "tmp", "var", "var/www"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            tar.addfile(entry)
        with open(busybox, "rb") as binary:
            content = binary.read()
        _add(tar, "bin/busybox", content, 0o755)
        for applet in APPLETS:
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(entry)
        _add(tar, "etc/passwd", b"root:x:0:0:root:/:/bin/sh\n", 0o644)
        for path, text in (files or {}).items():
            _add(tar, path.lstrip("/"), text.encode(), 0o644)
    return made.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))
