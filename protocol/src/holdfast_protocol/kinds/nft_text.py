"""The inside of an nftables table as text: kept inside, and its base chains found. Pure.

Not a parser of nft(8): it knows what could lead out of the braces (braces, quotes, comments, `include`) and how a base chain
says what it hooks, and refuses whatever it cannot tell apart. What the rules mean is nft's own to judge.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from holdfast_protocol.errors import WireError

MAX_TEXT: Final = 64 * 1024  # bytes
_TOKENS: Final = re.compile(
    r'(?P<space>[ \t\n]+)|(?P<comment>#[^\n]*)|(?P<text>"[^"\n]*")|(?P<mark>[{};])|(?P<word>[^ \t\n#"{};]+)'
)
_PLAIN: Final = re.compile(r"[\t\n\x20-\x5b\x5d-\x7e]*")  # printable ASCII without the backslash, which joins lines
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,60}")


class Chain(msgspec.Struct, frozen=True):
    """What a base chain says of itself; `policy` is "" when it says nothing (accept)."""

    kind: str  # filter, nat, route
    hook: str
    policy: str = ""


class _Token(msgspec.Struct, frozen=True):
    kind: str
    text: str
    end: int


def with_heads(text: str, head: Callable[[Chain], list[str]]) -> str:
    """Return the text with the rules `head` gives at the head of each base chain.

    Raises WireError, BadRuleset or TooLarge, for what does not surely stay inside the table.
    """
    if len(text) > MAX_TEXT:
        raise WireError(f"spec.ruleset has {len(text)} characters, the limit is {MAX_TEXT}", reason="TooLarge")
    if not _PLAIN.fullmatch(text):
        raise _bad("only printable ASCII without backslashes is taken")
    tokens = list(_tokens(text))
    _check_inside(tokens)
    done, parts = 0, []
    for at, inside in _chains(tokens):
        chain = _base(inside)
        if chain is not None:
            rules = "".join(f"\n    {rule}" for rule in head(chain))
            parts += [text[done:at], rules, "\n"]
            done = at
    return "".join([*parts, text[done:]])


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        match = _TOKENS.match(text, at)
        if match is None:  # the one thing no token begins with: a quote that its line does not close
            raise _bad("a quote is not closed on its line")
        at = match.end()
        if match.lastgroup not in {"space", "comment"}:
            yield _Token(str(match.lastgroup), match[0], at)


def _check_inside(tokens: list[_Token]) -> None:
    depth = 0
    for token in tokens:
        if token.kind == "mark":
            depth += {"{": 1, "}": -1}.get(token.text, 0)
            if depth < 0:
                raise _bad("a brace closes the table itself")
        elif token.kind == "word" and re.search(r"\binclude\b", token.text):
            raise _bad("include reads other files", hint="write what it says")
    if depth:
        raise _bad("a brace is not closed")


def _chains(tokens: list[_Token]) -> Iterator[tuple[int, list[_Token]]]:
    """Yield each chain: the place after its opening brace, and its tokens up to the closing one."""
    names = set()
    depth = at = 0
    while at < len(tokens):
        token = tokens[at]
        if depth == 0 and token.text == "chain":
            name = tokens[at + 1].text if at + 2 < len(tokens) else ""
            if not _NAME.fullmatch(name) or tokens[at + 2].text != "{":
                raise _bad("after chain must come a plain name and an opening brace")
            if name in names:
                raise _bad(f"chain {name} is there twice")
            names.add(name)
            end = _closing(tokens, at + 2)
            yield tokens[at + 2].end, tokens[at + 3 : end]
            at = end
        else:
            if token.kind == "word" and re.search(r"\bhook\b", token.text) and not _is_flowtable(tokens, at):
                raise _bad("a hook outside of a chain")
            depth += {"{": 1, "}": -1}.get(token.text, 0) if token.kind == "mark" else 0
        at += 1


def _closing(tokens: list[_Token], opening: int) -> int:
    depth = 0
    for at in range(opening, len(tokens)):
        depth += {"{": 1, "}": -1}.get(tokens[at].text, 0) if tokens[at].kind == "mark" else 0
        if depth == 0:
            return at
    raise _bad("a brace is not closed")


def _is_flowtable(tokens: list[_Token], at: int) -> bool:
    """Return whether a hook belongs to `flowtable NAME { hook …`: it takes established packets past, and drops none."""
    return at >= 3 and tokens[at - 3].text == "flowtable" and tokens[at - 1].text == "{"


def _base(tokens: list[_Token]) -> Chain | None:
    """Return what a chain hooks; None for a chain that is only jumped to."""
    words = [token.text for token in tokens]
    hooks = [at for at, token in enumerate(tokens) if token.kind == "word" and re.search(r"\bhook\b", token.text)]
    if not hooks:
        return None
    at = hooks[0]
    if len(hooks) > 1 or at < 2 or words[at] != "hook" or words[at - 2] != "type" or at + 1 >= len(words):
        raise _bad("a base chain must say: type … hook … priority …; and that once")
    kind, hook = words[at - 1], words[at + 1]
    if kind not in {"filter", "nat", "route"} or not re.fullmatch(r"[a-z]+", hook):
        raise _bad(f"type {kind[:40]} hook {hook[:40]} is not known here")
    policies = [number for number, word in enumerate(words) if word == "policy" and tokens[number].kind == "word"]
    policy = words[policies[0] + 1] if len(policies) == 1 and policies[0] + 1 < len(words) else ""
    if len(policies) > 1 or (policies and policy not in {"accept", "drop"}):
        raise _bad("a chain's policy must be accept or drop, and said once")
    if kind == "nat" and policy == "drop":
        raise _bad("a chain of type nat drops nothing")
    return Chain(kind, hook, policy)


def _bad(why: str, *, hint: str = "") -> WireError:
    return WireError(f"spec.ruleset: {why}", reason="BadRuleset", hint=hint)
