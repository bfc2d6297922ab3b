"""TLS of a source: contexts from PEM texts kept in memory, or from files of the node. Blocking: call from a thread."""

import os
import ssl
from typing import Any

from holdfast_edge.store.sources import Kept
from holdfast_protocol.errors import PermanentError
from holdfast_protocol.kinds.device_source import Wanted
from holdfast_protocol.relay.tls import file_bytes


def client_context(want: Wanted, kept: Kept) -> ssl.SSLContext:
    """Return how a broker is believed, and who we are to it. Raises PermanentError `BadCertificate`."""
    authority = _pem("tls.ca", want, kept)
    try:
        context = ssl.create_default_context(cadata=authority or None)
    except (ssl.SSLError, ValueError) as error:
        raise _bad(want, "tls.ca", error) from None
    _load(context, want, kept)
    return context


def server_context(want: Wanted, kept: Kept) -> ssl.SSLContext:
    """Return what a server shows, and whether it wants its clients' certificates. Raises PermanentError `BadCertificate`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    authority = _pem("tls.ca", want, kept)
    if authority:
        try:
            context.load_verify_locations(cadata=authority)
        except (ssl.SSLError, ValueError) as error:
            raise _bad(want, "tls.ca", error) from None
        context.verify_mode = ssl.CERT_REQUIRED
    _load(context, want, kept)
    return context


def _load(context: ssl.SSLContext, want: Wanted, kept: Kept) -> None:
    """Load certificate and key. OpenSSL takes them as a file: one that no disk sees."""
    certificate, key = _pem("tls.cert", want, kept), _pem("tls.key", want, kept)
    if not certificate:
        return
    descriptor = os.memfd_create("holdfast-tls", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, f"{certificate}\n{key}\n".encode())
        # A key with a passphrase would make OpenSSL ask on the terminal.
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=lambda: b"")
    except (ssl.SSLError, OSError, ValueError) as error:
        raise _bad(want, "tls.cert", error) from None
    finally:
        os.close(descriptor)


def _pem(place: str, want: Wanted, kept: Kept) -> str:
    if place in kept.materials:
        return kept.materials[place]
    material: Any = want.materials.get(place)
    if material is None:
        return ""
    try:
        return file_bytes(material.path).decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise _bad(want, place, error) from None


def _bad(want: Wanted, place: str, error: Exception) -> PermanentError:
    said = getattr(error, "strerror", None) or getattr(error, "reason", None) or type(error).__name__
    hint = "PEM texts: BEGIN CERTIFICATE, BEGIN PRIVATE KEY without a passphrase"
    return PermanentError(f"spec.{want.type}.{place}: cannot be used: {said}", reason="BadCertificate", hint=hint)
