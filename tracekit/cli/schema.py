"""``tracekit schema``."""

# ruff: noqa: PLC0415 - the library is imported when a command needs it, so that `--help` is quick

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from tracekit.cli.options import choice
from tracekit.cli.output import put, put_lines
from tracekit.errors import UsageError
from tracekit.report.json import json_document

SCHEMAS = ("log", "store")


@dataclass(frozen=True, slots=True)
class SchemaOptions:
    """What `schema` was asked."""

    what: Annotated[str, typer.Argument(metavar="log|store", help="The schema to print.")]
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON also for the store: its version and its SQL.")
    ] = False

    describe: Annotated[
        bool,
        typer.Option(
            "--describe", help="Of the store: what each table, view, macro and column means, as Markdown."
        ),
    ] = False

    def __post_init__(self) -> None:
        choice("SCHEMA", self.what, SCHEMAS)
        if self.describe and self.what != "store":
            raise UsageError("--describe is for the store", hint="try 'tracekit schema store --describe'")


def run(options: SchemaOptions) -> int:
    """Print the schema of the log's records (JSON Schema) or of the store's tables (SQL).

    These are the published contracts, the same as the files in schemas/: what a log's records hold once
    they are decoded, and the tables, views and macros that a query can use, with a comment on each.

    Examples:
        tracekit schema store
        tracekit schema store --describe
        tracekit schema log > log.schema.json

    """
    if options.what == "log":
        from tracekit.log.schema import log_schema

        put(json_document(log_schema()))
        return 0
    if options.describe:
        from tracekit.report.reference import reference
        from tracekit.store.describe import describe

        found = describe()
        if options.as_json:
            put(json_document(found))
        else:
            put_lines(reference(found))
        return 0
    from tracekit.store.schema import STORE_SCHEMA_VERSION, store_schema

    sql = store_schema()
    put(json_document({"version": STORE_SCHEMA_VERSION, "sql": sql}) if options.as_json else sql)
    return 0
