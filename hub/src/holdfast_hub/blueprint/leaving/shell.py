"""Words for a POSIX shell: whatever a value holds, it stays one word and means itself."""

from holdfast_protocol.errors import WireError


def word(text: str) -> str:
    """Return `text` as one word of a shell. Raises WireError BadText for a NUL, which none can hold."""
    if "\0" in text:
        raise WireError("holds a NUL, which no program's words can hold", reason="BadText")
    return "'" + text.replace("'", "'\\''") + "'"


def call(verb: str, *words: str) -> str:
    """Return a line that calls one of the script's functions. [inv: no-shell-strings]"""
    return " ".join([verb, *map(word, words)])
