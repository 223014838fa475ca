"""Values of a query's result as one cell of text, or as something that JSON can hold."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Mapping
from decimal import Decimal

NULL = "NULL"


class Quantity(str):
    """A number with its unit, as text that is aligned as numbers are."""

    __slots__ = ()


def cell_text(value: object, *, null: str = NULL) -> str:
    """A value as text for one cell: ``null`` for None, times in ISO form, bytes in hexadecimal."""
    match value:
        case None:
            text = null
        case bool():
            text = "true" if value else "false"
        case datetime.datetime():
            text = value.isoformat(sep=" ")
        case list() | tuple() | set() | Mapping():
            text = json.dumps(json_value(value), ensure_ascii=False)
        case bytes() | bytearray():
            text = value.hex()
        case _:
            text = str(value)
    return text


def json_value(value: object) -> object:
    """A value as JSON knows it: exact where JSON can be, null for what is not a number, else text."""
    result: object
    match value:
        case None | str() | bool() | int():
            result = value
        case float():
            result = value if math.isfinite(value) else None
        case Decimal():
            result = _json_number(value)
        case Mapping():
            result = {cell_text(key): json_value(item) for key, item in value.items()}
        case list() | tuple() | set():
            result = [json_value(item) for item in value]
        case datetime.datetime() | datetime.date() | datetime.time():
            result = value.isoformat()
        case _:
            result = cell_text(value)
    return result


def _json_number(value: Decimal) -> int | float | None:
    if not value.is_finite():
        return None
    return int(value) if value == value.to_integral_value() else float(value)
