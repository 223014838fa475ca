"""What SQL that fails is answered: one line in plain words, the nearest name, and the place."""

from __future__ import annotations

from pathlib import Path

import pytest
import traces

from tracekit.errors import SqlError
from tracekit.store.database import Store
from tracekit.store.opening import open_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    path = tmp_path_factory.mktemp("store") / "a.tkt"
    return open_store(traces.write_log(path, traces.TraceBuilder().finish()), cache=False)


@pytest.mark.parametrize(
    ("sql", "said", "place"),
    [
        (
            "FROM alocations",
            'there is no table or view "alocations"; did you mean "allocations"?',
            "alocations",
        ),
        ("FROM Site", 'there is no table or view "Site"; did you mean "sites"?', "Site"),
        ("FROM heap_at", 'there is no table or view "heap_at"; it is a macro', "heap_at"),
        ("FROM heap_att(3)", 'there is no function or macro "heap_att"; did you mean "heap_at"?', "heap_att"),
        ("SELECT momment('end')", 'no function or macro "momment"; did you mean "moment"?', "momment"),
        ("SELECT heap_at(3)", '"heap_at" gives a table and not a value; it stands behind FROM', "heap_at"),
        ("FROM moment('end')", '"moment" gives a value and not a table; write SELECT moment', "moment"),
        ("SELECT siez FROM allocations", 'there is no column "siez" here; did you mean "size"?', "siez"),
        ("SELECT a.siez FROM allocations a", 'no column "siez" here; did you mean "size"?', "a.siez"),
        ("SELECT alocations.size FROM allocations", 'no table "alocations" in this query', "alocations"),
        ('FROM sites WHERE file = "main"', "text is written in single quotes: 'main'", '"main"'),
        ("FROM sites WHERE zzz = 1", 'there is no column "zzz" here; ', "zzz"),
        ("SELEKT 1", 'syntax error at or near "SELEKT"', "SELEKT"),
        ("SELECT (1", "syntax error", "1"),
        ("SELECT 'open", "unterminated", "'open"),
    ],
)
def test_complaints(store: Store, sql: str, said: str, place: str) -> None:
    with pytest.raises(SqlError) as caught:
        list(store.query(sql).rows())
    first, *rest = str(caught.value).splitlines()
    assert said in first
    pointed = next(line for line in rest if line.startswith("LINE 1: "))
    caret = rest[rest.index(pointed) + 1]
    assert pointed[caret.index("^") :].startswith(place)


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("DELETE FROM marks", "DELETE is not possible: queries only read; SELECT"),
        ("MERGE INTO marks USING marks m ON false WHEN MATCHED THEN DELETE", "MERGE INTO is not possible"),
        (
            "SET threads = 1",
            "SET is not possible: queries only read, and only this recording; --allow-external",
        ),
        ("INSTALL httpfs", "LOAD is not possible"),
        ("FROM 'file.csv'", 'the file "file.csv" is out of reach'),
        ("FROM '/data/app.xyz'", "files can only be read with --allow-external"),
        ("FROM zzzzzz", "'tracekit schema store --describe' lists what there is"),
    ],
)
def test_refusals(store: Store, sql: str, said: str) -> None:
    with pytest.raises(SqlError) as caught:
        store.query(sql)
    assert said in str(caught.value).splitlines()[0]


def test_what_is_not_known_is_left_in_the_words_of_duckdb(store: Store, tmp_path: Path) -> None:
    with pytest.raises(SqlError, match="Candidate macros:\n    heap_by") as caught:
        store.query("FROM heap_by(1)")
    assert "\n\n" not in str(caught.value)
    assert "\t" not in str(caught.value)
