"""Progress: how far a node is with its newest target, as a row."""

from typing import Any

from holdfast_protocol.wire.messages import Progress


def progress_row(node: str, said: Progress) -> dict[str, Any]:
    """Return how far a node is with its newest target, flat: a line of a table and a row for programs."""
    why, second = said.cause, said.second
    return {
        "node": node,
        "phase": said.phase,
        "held": said.held,
        "last_good": said.last_good,
        "failed_in": why.phase if why else "",
        "resource": why.resource if why else "",
        "reason": why.reason if why else "",
        "message": why.message if why else "",
        "hint": why.hint if why else "",
        "going_back": f"{second.resource}: {second.reason}: {second.message}" if second else "",
        "bad": [digest[:12] for digest in said.bad],
        "next": said.next,
    }
