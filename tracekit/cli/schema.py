"""``tracekit schema``."""

# ruff: noqa: PLC0415 - the library is imported when a command needs it, so that `--help` is quick

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from tracekit.cli.options import choice
from tracekit.cli.output import put
from tracekit.report.json import json_document

SCHEMAS = ("log", "store")


@dataclass(frozen=True, slots=True)
class SchemaOptions:
    """What `schema` was asked."""

    what: Annotated[str, typer.Argument(metavar="log|store", help="The schema to print.")]
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON also for the store: its version and its SQL.")
    ] = False

    def __post_init__(self) -> None:
        choice("SCHEMA", self.what, SCHEMAS)


def run(options: SchemaOptions) -> int:
    """Print the schema of the log's records (JSON Schema) or of the store's tables (SQL).

    These are the published contracts, the same as the files in schemas/: what a log's records hold once
    they are decoded, and the tables, views and macros that a query can use, with a comment on each.

    Examples:
        tracekit schema store
        tracekit schema log > log.schema.json

    """
    if options.what == "log":
        from tracekit.log.schema import log_schema

        put(json_document(log_schema()))
        return 0
    from tracekit.store.schema import STORE_SCHEMA_VERSION, store_schema

    sql = store_schema()
    put(json_document({"version": STORE_SCHEMA_VERSION, "sql": sql}) if options.as_json else sql)
    return 0
