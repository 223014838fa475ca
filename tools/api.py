"""Writes the reference of the Python API into docs/api.md, from the docstrings: ``python -m tools.api``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tracekit
from tracekit.record import api as recording

PAGE = Path(__file__).resolve().parent.parent / "docs" / "api.md"
BEGIN = "<!-- reference: begin; made by 'make schemas' -->\n"
END = "<!-- reference: end -->\n"

_ROLE = re.compile(r":(?:func|class|meth|mod):`~?(?:tracekit(?:\.\w+)*?\.)?([A-Z]\w*(?:\.\w+)?|\w+)`")


def public_names() -> list[str]:
    """The names of the package that the page describes, in its order: functions, Trace, and other types."""
    names = [name for name in tracekit.__all__ if not name.startswith("_")]
    return sorted(names, key=lambda name: (name[0].isupper(), name != "Trace", name))


def reference() -> Iterator[str]:
    """Lines, without their newlines."""
    for name in public_names():
        value: Any = recording.record if name == "record" else getattr(tracekit, name)
        if inspect.isclass(value):
            yield from _class(name, value)
        else:
            yield from (f"## `tracekit.{name}{_signature(value)}`", "", *_text(value), "")


def _class(name: str, value: type) -> Iterator[str]:
    yield from (f"## `{name}`", "", *_text(value), "")
    fields = getattr(value, "__struct_fields__", ())
    if fields:
        kinds = ", ".join(f"`{field}: {inspect.get_annotations(value)[field]}`" for field in fields)
        yield from (f"Fields: {kinds}", "")
    own = {key: member for key, member in vars(value).items() if not key.startswith("_")}
    for key, member in own.items():
        if isinstance(member, property):
            result = inspect.get_annotations(member.fget)["return"] if member.fget else ""
            yield from (f"### `{name}.{key}: {result}`", "", *_text(member), "")
    for key, member in own.items():
        if inspect.isfunction(member):
            yield from (f"### `{name}.{key}{_signature(member)}`", "", *_text(member), "")


def _signature(function: Any) -> str:
    """The parameters and the result, annotations as they stand in the source."""
    signature = inspect.signature(function)
    parts: list[str] = []
    named_only = False
    for parameter in signature.parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not named_only:
            named_only = True
            if not any(part.startswith("*") for part in parts):
                parts.append("*")
        star = "*" if parameter.kind is parameter.VAR_POSITIONAL else ""
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        parts.append(f"{star}{parameter.name}: {_as_written(parameter.annotation)}{default}")
    return f"({', '.join(parts)}) -> {_as_written(signature.return_annotation)}"


def _as_written(annotation: object) -> str:
    """An annotation as in the source, whether the module evaluates its annotations or not."""
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _text(documented: Any) -> list[str]:
    """A docstring as Markdown."""
    text = inspect.getdoc(documented) or ""
    return _ROLE.sub(r"`\1`", text).replace("``", "`").splitlines()


def with_reference(text: str) -> str:
    """The page with what is between the two marks made anew. Raises ValueError when a mark is missing."""
    before, found, rest = text.partition(BEGIN)
    _, found_end, after = rest.partition(END)
    if not (found and found_end):
        raise ValueError(f"{PAGE.name} does not say where the reference goes")
    return f"{before}{BEGIN}\n" + "".join(f"{line}\n" for line in reference()) + f"{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_reference(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
