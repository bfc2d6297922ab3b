"""TLS to a destination: whom to believe, and who we are. The files are read at each use: they may be renewed."""

import ssl

from holdfast_hub.blueprint.destinations import TLS
from holdfast_protocol.errors import TransientError
from holdfast_protocol.runtime.refusals import refusal_text


def tls_context(wanted: TLS | None) -> ssl.SSLContext:
    """Return a context that checks the other side's certificate and name; for a thread, it reads files.

    Raises TransientError: somebody may mend the files.
    """
    wanted = wanted or TLS()
    try:
        context = ssl.create_default_context(cafile=wanted.ca_file or None)
        if wanted.certificate_file:
            context.load_cert_chain(wanted.certificate_file, wanted.key_file)
    except OSError as error:  # an SSLError is one; neither names the file
        named = ", ".join(each for each in (wanted.ca_file, wanted.certificate_file, wanted.key_file) if each)
        raise TransientError(f"{named}: {refusal_text(error)}", reason="BadCertificate") from None
    return context
