"""Document: the one page, and the policy under which a browser runs its script and style and nothing else."""

import base64
import hashlib
import re
from importlib import resources
from typing import Final, Self

import msgspec

_POLICY: Final = (
    "default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; img-src data:; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'"
)


class Document(msgspec.Struct, frozen=True):
    html: bytes
    policy: str  # its Content-Security-Policy

    @classmethod
    def load(cls) -> Self:
        """Return the page as it is installed. Blocks."""
        html = (resources.files("holdfast_edge.page") / "page.html").read_bytes()
        return cls(html, _POLICY.format(script=_hash(html, b"script"), style=_hash(html, b"style")))


def _hash(html: bytes, tag: bytes) -> str:
    """Return the source expression that allows the one inline element of this tag."""
    (content,) = re.findall(rb"<%b>(.*?)</%b>" % (tag, tag), html, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}'"
