"""The published schema of the log is the one of the code, and describes what is really written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

from tracekit.events import LOG_FORMAT_VERSION, Allocation, LogRecord
from tracekit.log.dump import DumpRecord
from tracekit.log.schema import log_schema, log_schema_text

PUBLISHED = Path(__file__).parents[2] / "schemas" / f"log.v{LOG_FORMAT_VERSION}.json"


def test_the_published_schema_is_up_to_date() -> None:
    assert json.loads(PUBLISHED.read_text()) == json.loads(json.dumps(log_schema()))
    assert PUBLISHED.read_text() == log_schema_text(), "run 'make schemas'"


def test_every_record_is_described_down_to_its_fields() -> None:
    definitions = log_schema()["$defs"]
    assert isinstance(definitions, dict)
    for record in {*get_args(LogRecord), *get_args(DumpRecord)}:
        described = definitions[record.__name__]
        assert described["description"]
        if described["type"] == "object":
            assert {"type", *record.__struct_fields__} == set(described["properties"])


def test_every_reference_leads_somewhere() -> None:
    schema = log_schema()
    definitions = schema["$defs"]
    assert isinstance(definitions, dict)
    text = json.dumps(schema)
    for name in {part.split('"')[0] for part in text.split("#/$defs/")[1:]}:
        assert name in definitions
    assert Allocation.__name__ in definitions
