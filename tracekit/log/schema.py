"""The JSON Schema of a log's records, published as schemas/log.vN.json, N the format's version."""

from __future__ import annotations

import inspect
from typing import Any, get_args

import msgspec

from tracekit.events import LOG_FORMAT_VERSION, LogRecord
from tracekit.log.dump import DumpRecord

_DESCRIPTION = """\
The logical records of a tracekit log, generated from the msgspec Structs in tracekit/events.py by \
'tracekit schema log'. In the file each is a msgpack map (an array where the schema says so) behind a \
frame with length and checksum: docs/log-format.md has the bytes. 'records' are what stands in a log, \
'dump' what 'tracekit dump' prints, one line a record. A bytes value is msgpack bin in the file. \
A reader ignores fields that it does not know."""


def log_schema() -> dict[str, object]:
    """The schema as plain values, ready for JSON."""
    stored, printed = get_args(LogRecord), get_args(DumpRecord)
    every = dict.fromkeys([*stored, *printed])
    _, components = msgspec.json.schema_components(every, ref_template="#/$defs/{name}")

    for component in components.values():
        # From 3.13 on the compiler takes the indentation out of docstrings; the schema is the same on all.
        component["description"] = inspect.cleandoc(component.get("description", ""))

    def any_of(records: tuple[Any, ...]) -> list[dict[str, str]]:
        return [{"$ref": f"#/$defs/{record.__name__}"} for record in records]

    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"tracekit log, format {LOG_FORMAT_VERSION}",
        "description": _DESCRIPTION,
        "x-format-version": LOG_FORMAT_VERSION,
        "anyOf": [{"$ref": "#/$defs/records"}, {"$ref": "#/$defs/dump"}],
        "$defs": {
            "records": {"description": "What stands in a log.", "anyOf": any_of(stored)},
            "dump": {"description": "What a line of 'tracekit dump' is.", "anyOf": any_of(printed)},
            **dict(sorted(components.items())),
        },
    }


def log_schema_text() -> str:
    """The published file of this version, as text."""
    return msgspec.json.format(msgspec.json.encode(log_schema()), indent=2).decode() + "\n"
