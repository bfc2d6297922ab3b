"""TLS towards a broker from PEM texts kept in memory. Blocking: call from a thread."""

import errno
import os
import ssl
import stat
from collections.abc import Mapping
from typing import Final

from holdfast_protocol.errors import PermanentError
from holdfast_protocol.kinds.inputs import Material

MAX_TEXT: Final = 256 * 1024  # bytes


def client_context(texts: Mapping[str, str], side: str) -> ssl.SSLContext:
    """Return how a broker is believed, and who we are to it: `texts` by place (remote.tls.ca), of one side.

    Raises PermanentError `BadCertificate`.
    """
    authority = texts.get(f"{side}.tls.ca", "")
    try:
        context = ssl.create_default_context(cadata=authority or None)
    except (ssl.SSLError, ValueError) as error:
        raise _bad(f"{side}.tls.ca", error) from None
    certificate, key = texts.get(f"{side}.tls.cert", ""), texts.get(f"{side}.tls.key", "")
    if not certificate:
        return context
    descriptor = os.memfd_create("holdfast-tls", os.MFD_CLOEXEC)  # OpenSSL takes a file: one that no disk sees
    try:
        os.write(descriptor, f"{certificate}\n{key}\n".encode())
        # A key with a passphrase would make OpenSSL ask on the terminal.
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=lambda: b"")
    except (ssl.SSLError, OSError, ValueError) as error:
        raise _bad(f"{side}.tls.cert", error) from None
    finally:
        os.close(descriptor)
    return context


def file_bytes(path: str) -> bytes:
    """Return what is in a file, up to a bound; a pipe is not waited for. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "no file")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_TEXT)
    finally:
        os.close(descriptor)


def file_texts(materials: Mapping[str, Material]) -> dict[str, str]:
    """Return the texts of those materials that are files, by place. Raises PermanentError `BadCertificate`, or `NoSecret`."""
    found = {}
    for place, material in materials.items():
        if material.path:
            try:
                text = file_bytes(material.path).decode("utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise _bad(place, error) from None
            found[place] = text.rstrip("\r\n") if place.endswith("password") else text
    return found


def _bad(place: str, error: Exception) -> PermanentError:
    said = getattr(error, "strerror", None) or getattr(error, "reason", None) or type(error).__name__
    if place.endswith("password"):
        return PermanentError(f"spec.{place}: cannot be used: {said}", reason="NoSecret", hint="a file with one line")
    hint = "PEM texts: BEGIN CERTIFICATE, BEGIN PRIVATE KEY without a passphrase"
    return PermanentError(f"spec.{place}: cannot be used: {said}", reason="BadCertificate", hint=hint)
