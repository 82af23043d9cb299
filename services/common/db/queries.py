"""SQL kept in files: named, commented, never joined from strings.

A file consists of blocks. Each starts with ``-- name: find_adapter``; the comment below it says why; parameters are
psycopg's ``%(name)s``.
"""

import re
from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType
from typing import Final

from psycopg.sql import SQL

_NAME: Final = re.compile(r"^-- name: *([a-z][a-z0-9_]*) *$", re.MULTILINE)


def load_queries(package: str, file: str = "queries.sql") -> Mapping[str, SQL]:
    """Read the named queries of a file that lies in `package`.

    Raises:
        ValueError: a block without a name, without a statement, or a name used twice.
    """
    return parse_queries(files(package).joinpath(file).read_text("utf-8"))


def parse_queries(text: str) -> Mapping[str, SQL]:
    """Split a file's text into its queries by name; see `load_queries`."""
    head, *parts = _NAME.split(text)
    if _statement(head):
        raise ValueError(f"SQL before the first '-- name:' line: {_statement(head)[:60]!r}")
    names, bodies = parts[0::2], parts[1::2]
    if len(set(names)) != len(names):
        raise ValueError(f"a query name is used twice: {sorted({n for n in names if names.count(n) > 1})}")
    empty = [name for name, body in zip(names, bodies, strict=True) if not _statement(body)]
    if empty:
        raise ValueError(f"queries without a statement: {empty}")
    # The text comes from a file of this distribution, which is as literal as a string in the code.
    return MappingProxyType({name: SQL(body.strip()) for name, body in zip(names, bodies, strict=True)})


def _statement(body: str) -> str:
    return "\n".join(line for line in body.splitlines() if not line.lstrip().startswith("--")).strip()
