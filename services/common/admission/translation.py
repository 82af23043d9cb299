"""From Python's regular expressions to RE2's, token by token: the same over printable ASCII, or none at all.

What is left out: back-references, look-behind, flags, possessive repeats, escapes by number. A look-ahead is a condition
of its own where the expression begins with it; RE2 has none.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

__all__ = ["NUMBER", "translate"]

NUMBER: Final = "idx"
"""The one group whose text is wanted."""
GROUP: Final = f"(?P<{NUMBER}>"

Token = tuple[str, str]
"""Kind, and RE2's spelling."""

_REPEAT: Final = r"(?:[*+?]|\{(?:[0-9]+(?:,[0-9]*)?|,[0-9]*)\})"
_TOKEN: Final = re.compile(
    rf"""(?P<same>\\[dDwWsSbBA]|[.^$])
      | (?P<end>\\Z)
      | (?P<literal>\\[^A-Za-z0-9])
      | (?P<set>\[\^?+\]?+(?:\\.|[^\]\\])*+\])
      | (?P<ahead>\(\?[=!])
      | (?P<open>\((?!\?)|\(\?:|\(\?P<\w+>)
      | (?P<close>\))
      | (?P<bar>\|)
      | (?P<possessive>{_REPEAT}\+)
      | (?P<repeat>{_REPEAT}\??)
      | (?P<plain>[^\\\[(])
    """,
    re.VERBOSE,
)
_COUNTED: Final = re.compile(r"\{(?P<least>[0-9]*)(?P<comma>,?)(?P<most>[0-9]*)\}(?P<lazy>\??)")
_MEMBER: Final = re.compile(
    r"""(?P<kind>\\[dDwWsS])
      | (?P<first>\\[^A-Za-z0-9]|[^\\]) (?:-(?P<last>\\[^A-Za-z0-9]|[^\\]))?
    """,
    re.VERBOSE,
)


def translate(text: str) -> tuple[str, list[tuple[str, bool]]] | None:
    """Spell an expression for RE2.

    Args:
        text: printable ASCII that Python compiles, without the spellings of sets that Python warns of.

    Returns:
        The expression, and the look-aheads it begins with: each with whether the text must begin with it, or must not.
        None where RE2 has no such expression.
    """
    tokens = _tokens(text)
    if tokens is None:
        return None
    conditions, body = _split(tokens)
    depths = _depths(body)
    if conditions and any(kind == "bar" and depth == 0 for (kind, _), depth in zip(body, depths, strict=True)):
        return None  # they would be conditions of one alternative only
    groups = [body, *(inner for inner, _ in conditions)]
    if any(kind == "ahead" for group in groups for kind, _ in group):
        return None
    if GROUP in (spelled for _, spelled in body) and _repeats_group(body):
        return None  # where a group may be empty, the two repeat it in other ways, and find other numbers
    return _join(body), [(_join(inner), wanted) for inner, wanted in conditions]


def _join(tokens: Iterable[Token]) -> str:
    return "".join(spelled for _, spelled in tokens)


def _tokens(text: str) -> list[Token] | None:
    """Kind and RE2's spelling of each token; None where one has no such spelling."""
    tokens: list[Token] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        spelled = _spell(str(match.lastgroup), match[0]) if match else None
        if match is None or spelled is None:
            return None
        tokens.append((str(match.lastgroup), spelled))
        position = match.end()
    return tokens


def _spell(kind: str, token: str) -> str | None:
    if kind in {"literal", "plain"}:
        return re.escape(token[-1])
    if kind == "open":
        return token if token == GROUP else "(?:"
    if kind == "set":
        return _spell_set(token)
    if kind == "repeat":
        return _COUNTED.sub(_spell_count, token)
    return {"end": r"\z", "possessive": None}.get(kind, token)


def _spell_count(count: re.Match[str]) -> str:
    """Python leaves out the least of ``{,3}`` and admits leading zeros; RE2 would read these as letters."""
    least, most = int(count["least"] or 0), int(count["most"]) if count["most"] else ""
    return f"{{{least}{count['comma']}{most}}}{count['lazy']}"


def _spell_set(token: str) -> str | None:
    """Every character escaped, so that RE2 finds no class such as ``[:alpha:]`` where Python has none."""
    start = 2 if token.startswith("[^") else 1
    spelled, position, end = token[:start], start, len(token) - 1
    while position < end:
        member = _MEMBER.match(token, position, end)
        if member is None:
            return None
        characters = [re.escape(text[-1]) for text in member.group("first", "last") if text]
        spelled += member["kind"] or "-".join(characters)
        position = member.end()
    return f"{spelled}]"


def _depths(tokens: Sequence[Token]) -> list[int]:
    """In how many groups each token is; a parenthesis is in its own."""
    depths, depth = [], 0
    for kind, _ in tokens:
        depth += kind in {"open", "ahead"}
        depths.append(depth)
        depth -= kind == "close"
    return depths


def _repeats_group(tokens: Sequence[Token]) -> bool:
    """Whether a group is repeated, and not just optional."""
    return any(
        first == "close" and second == "repeat" and not spelled.startswith("?")
        for (first, _), (second, spelled) in pairwise(tokens)
    )


def _split(tokens: list[Token]) -> tuple[list[tuple[list[Token], bool]], list[Token]]:
    """The look-aheads at the beginning, with whether they must match, and the rest."""
    conditions: list[tuple[list[Token], bool]] = []
    while True:
        start = next((index for index, (_, text) in enumerate(tokens) if text != "^"), len(tokens))
        if start == len(tokens) or tokens[start][0] != "ahead":
            return conditions, tokens
        end = next(
            index
            for index, ((kind, _), depth) in enumerate(zip(tokens, _depths(tokens), strict=True))
            if kind == "close" and depth == 1
        )
        conditions.append((tokens[start + 1 : end], tokens[start][1] == "(?="))
        tokens = tokens[end + 1 :]
