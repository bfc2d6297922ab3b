"""The text of expressions: what of it is literal text or comment, and must not be taken for code."""

from typing import Final

SKIPPED: Final = (
    r"""[bB]?[rR][bB]?(?:\"{3}.*?\"{3}|'{3}.*?'{3}|"[^"\n]*"|'[^'\n]*')"""
    r"""|[bB]?(?:\"{3}(?:\\.|.)*?\"{3}|'{3}(?:\\.|.)*?'{3}|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')"""
    r"""|//[^\n]*"""
)  # for a pattern compiled with re.DOTALL; put it before what is looked for
