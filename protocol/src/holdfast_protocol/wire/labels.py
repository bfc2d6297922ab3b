"""What may be a label's key or value, and a DNS name, as Kubernetes has it. ASCII, whole text, no trailing newline."""

import re
from typing import Final

_NAME: Final = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_LABEL: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DNS_LABEL: Final = re.compile(_LABEL)
_SUBDOMAIN: Final = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_OLD_LABEL: Final = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


def is_label_value(text: str) -> bool:
    """Empty, or at most 63 letters, digits and inner -_."""
    return text == "" or (len(text) <= 63 and _NAME.fullmatch(text) is not None)


def is_label_key(text: str) -> bool:
    """A name of at most 63, after an optional DNS name and a slash."""
    prefix, slash, name = text.rpartition("/")
    if slash and not is_dns_subdomain(prefix):
        return False
    return len(name) <= 63 and _NAME.fullmatch(name) is not None


def is_dns_label(text: str) -> bool:
    """RFC 1123: 1 to 63 lower-case letters, digits and inner hyphens."""
    return len(text) <= 63 and _DNS_LABEL.fullmatch(text) is not None


def is_dns_subdomain(text: str) -> bool:
    """RFC 1123: such labels joined by dots, at most 253 (their own length is not looked at, as in Kubernetes)."""
    return len(text) <= 253 and _SUBDOMAIN.fullmatch(text) is not None


def is_dns_1035_label(text: str) -> bool:
    """RFC 1035: a DNS label that begins with a letter."""
    return len(text) <= 63 and _OLD_LABEL.fullmatch(text) is not None
