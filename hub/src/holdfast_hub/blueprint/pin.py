"""Pins: an instance may keep one revision of its blueprint, while others follow the newest.

The pin is an annotation of the instance, so that it can meet no field of any schema.
"""

import re
from typing import Final

from holdfast_protocol.blueprint.documents import Document
from holdfast_protocol.errors import InputError

ANNOTATION: Final = "holdfast.io/blueprint-revision"
_REVISION: Final = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)


def read_pin(document: Document) -> int:
    """Return the revision an instance's document asks to keep, 0 to follow the newest. Raises InputError."""
    metadata = document.value.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    if not isinstance(annotations, dict) or ANNOTATION not in annotations:
        return 0
    text = annotations[ANNOTATION]
    if not isinstance(text, str) or _REVISION.fullmatch(text) is None:
        path = ("metadata", "annotations", ANNOTATION)
        problem = document.problem(path, "must be the number of a revision, as text", hint='"3"')
        raise InputError([problem])
    return int(text)
