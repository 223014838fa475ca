"""Cuts what is typed into SQL statements: a semicolon ends one, unless it is quoted or in a comment."""

from __future__ import annotations

import re

# One token that may hide a semicolon, or the semicolon itself. An unfinished one runs to the end of the text
# (`\Z`), so that a statement goes on in the next line. `$$` and `$tag$` quote as in PostgreSQL.
_TOKEN = re.compile(
    r"""
    '(?:[^']|'')*(?:'|\Z) | "(?:[^"]|"")*(?:"|\Z)
    | --[^\n]* | /\*.*?(?:\*/|\Z)
    | \$(?P<tag>[A-Za-z_]*)\$.*?(?:\$(?P=tag)\$|\Z)
    | (?P<end>;)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT = re.compile(r"--[^\n]*(?:\n|\Z)|/\*.*?\*/", re.DOTALL)


def split_statements(text: str) -> tuple[list[str], str]:
    """(whole statements without their semicolons, what is left over after the last semicolon)."""
    statements, start = [], 0
    for match in _TOKEN.finditer(text):
        if match["end"]:
            statements.append(text[start : match.start()].strip())
            start = match.end()
    return [statement for statement in statements if not is_blank(statement)], text[start:]


def is_blank(text: str) -> bool:
    """Whether there is nothing in it but space and comments."""
    return not _COMMENT.sub("", text).strip()


def unfinished(text: str) -> bool:
    """Whether it ends within quotes or a comment."""
    last = None
    for match in _TOKEN.finditer(text):
        last = match
    if last is None or last["end"] or last.end() < len(text):
        return False
    token = last[0]
    if token.startswith("--"):
        return True
    if token.startswith("/*"):
        return not (token.endswith("*/") and len(token) >= 4)
    if token.startswith("$"):
        tag = f"${last['tag']}$"
        return not (token.endswith(tag) and len(token) >= 2 * len(tag))
    return token.count(token[0]) % 2 == 1
