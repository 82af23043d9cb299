"""What is wrong with a JSON schema before it is compiled: what no schema is, what would take too long, what cannot be held."""

import json
from collections.abc import Iterator, Mapping
from fractions import Fraction
from math import gcd, isfinite, lcm
from typing import Any, Final

from services.inference.constraints.repetitions import written_out

MAX_DEPTH: Final = 96
"""Objects and lists within one another; the compiler gives up a little above it."""
MAX_MULTIPLE: Final = 20_000
"""Least common multiple of all ``multipleOf``, in units of their last decimal: states that the compiler walks through."""
MAX_MULTIPLES: Final = 200_000
"""The same, times the number of ``multipleOf``."""
MAX_PATTERN: Final = 16_384
"""Characters of a pattern whose repetitions are written out."""

_NUMBERS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")


def schema_fault(text: str) -> str | None:
    """A sentence on what is wrong with a schema, or None where only the compiler can tell."""
    try:
        schema = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        return _too_deep()
    except ValueError as error:
        return f"json_schema is not JSON: {error}. Send the schema itself, written as JSON."
    if not isinstance(schema, dict | bool):
        return f'json_schema is {_kind(schema)}; a JSON schema is an object, such as {{"type": "object"}}.'
    if schema is False:
        return "json_schema is false, which nothing fits. Say what the answer may be."
    if _depth(schema) > MAX_DEPTH:
        return _too_deep()
    objects = list(_objects(schema))
    return next((fault for found in objects if (fault := _object_fault(found))), None) or _multiples_fault(objects)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _too_deep() -> str:
    return (
        f"json_schema is nested more than {MAX_DEPTH} levels deep. Name the inner schemas in $defs, and refer to them."
    )


def _kind(value: object) -> str:
    kinds = {list: "a list", str: "a text", type(None): "null"}
    return kinds.get(type(value), "a number")


def _depth(schema: object) -> int:
    level, depth = [schema], 0
    while level := [inner for value in level for inner in _inside(value)]:
        depth += 1
    return depth


def _inside(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _objects(schema: object) -> Iterator[Mapping[str, Any]]:
    """Every object anywhere inside: references may lead to any of them."""
    values = [schema]
    while values:
        value = values.pop()
        if isinstance(value, dict):
            yield value
        values.extend(_inside(value))


def _object_fault(schema: Mapping[str, Any]) -> str | None:
    if "x-guidance" in schema:
        return "json_schema has the key x-guidance, which is no keyword of JSON schema. Leave it out."
    # Older drafts' ways to say it; the compiler would pass them over.
    if isinstance(schema.get("items"), list) or "additionalItems" in schema:
        return "json_schema has items for each place, as drafts before 2020-12 did. Write prefixItems, and items for the rest."
    for name in _NUMBERS:
        if isinstance(schema.get(name), bool):
            return f"json_schema has a {name} that is true or false; since draft 6 it is a number."
    for pattern in _patterns(schema):
        if written_out(pattern) > MAX_PATTERN:
            return f"json_schema has a pattern that repeats more than {MAX_PATTERN} characters. Lower its repetition counts."
    return _properties_fault(schema)


def _patterns(schema: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(schema.get("pattern"), str):
        yield schema["pattern"]
    if isinstance(schema.get("patternProperties"), dict):
        yield from schema["patternProperties"]


def _properties_fault(schema: Mapping[str, Any]) -> str | None:
    least, required = schema.get("minProperties"), schema.get("required")
    named = len({name for name in required if isinstance(name, str)}) if isinstance(required, list) else 0
    # Nothing keeps a model from writing the same unnamed property twice, which is one property to whoever reads it.
    if isinstance(least, int) and least > named + 1:
        return f"json_schema has minProperties {least}, which cannot be held for properties without names. Put names into required."
    return None


def _multiples_fault(objects: list[Mapping[str, Any]]) -> str | None:
    found = [schema["multipleOf"] for schema in objects if isinstance(schema.get("multipleOf"), int | float)]
    multiples = [Fraction(str(value)) for value in found if isfinite(value) and value > 0]
    if not multiples:
        return None
    scale = lcm(*(multiple.denominator for multiple in multiples))
    decimals = 1
    while gcd(decimals, scale) != scale and decimals < 10**18:
        decimals *= 10
    states = lcm(*(int(multiple * decimals) for multiple in multiples))
    if 0 < states <= MAX_MULTIPLE and states * len(multiples) <= MAX_MULTIPLES:
        return None
    return (
        "json_schema has multipleOf that take too long to follow: their least common multiple, in units of the last "
        f"decimal, is above {MAX_MULTIPLE}, or they are too many. Use smaller ones."
    )
