"""The grammar of an answer that may call functions, in llguidance's dialect of Lark."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from services.inference.tools.kinds import Tool
from services.inference.tools.notation import Notation


def calls_grammar(
    notation: Notation,
    tools: Iterable[Tool],
    *,
    must_call: bool,
    single: bool,
    markers: Mapping[str, int],
    options: Mapping[str, Any],
) -> str:
    """Write it.

    Args:
        notation: of the calls.
        tools: that may be called; with parameters that are JSON schemas of type object.
        must_call: no text, but a call.
        single: one call at most.
        markers: the notation's markers that are tokens as a whole, with their ids.
        options: of llguidance, for JSON.
    """
    again = notation.between if notation.between is not None and not single else None
    known = list(tools)
    rules = [
        _start(notation, markers, must_call=must_call),
        f"calls: {notation.opening} call {f'({again} call)*' if again is not None else ''} {notation.closing}",
        f'call: {_text(_HEAD)} tool "}}" {notation.after}',
        f"tool: {' | '.join(f'tool_{index}' for index in range(len(known)))}",
        *(f"tool_{index}: {_tool(notation, tool, options)}" for index, tool in enumerate(known)),
    ]
    if notation.marker:
        rules.append(f"open: {_marker(notation.marker, markers)}")
    if notation.closer:
        rules.append(f"close: {_marker(notation.closer, markers)}")
    return "\n".join(rules)


_HEAD: Final = '{"name": "'
_ANYTHING: Final = r"/(.|\n)*/"


def _start(notation: Notation, markers: Mapping[str, int], *, must_call: bool) -> str:
    if not notation.marker:
        return "start: calls" if must_call else "start: calls | OTHER?\nOTHER: /[^{](.|\\n)*/"
    if must_call:
        return "start: open calls"
    # A lazy rule ends at the marker wherever it comes, so that there is no text with a marker in it.
    spelled = f"first[lazy]: TEXT {_text(notation.marker)}"
    number = markers.get(notation.marker)
    token = "" if number is None else f" | TEXT <[{number}]> calls"
    return f"start: first calls{token} | TEXT\n{spelled}\nTEXT: {_ANYTHING}"


def _marker(marker: str, markers: Mapping[str, int]) -> str:
    number = markers.get(marker)
    return _text(marker) if number is None else f"{_text(marker)} | <[{number}]>"


def _tool(notation: Notation, tool: Tool, options: Mapping[str, Any]) -> str:
    # Each schema is a grammar of its own, so that its references lead where they led before.
    schema = {**json.loads(tool.parameters), "x-guidance": dict(options)}
    begin = _text(f'{tool.name}", "{notation.key}": ')
    return f"{begin} %json {json.dumps(schema)}"


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
