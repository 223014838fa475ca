"""Parquet: one query into a file, and all tables into a folder; whole or not at all."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest
from cli_support import PROGRAM, Cli, environment, make_log
from processes import TIMEOUT, running

from tracekit.store.access import Access
from tracekit.store.database import Store
from tracekit.store.export import export_tables
from tracekit.store.opening import open_store


def read(pattern: Path, what: str = "count(*)") -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        sql = f"SELECT {what} FROM read_parquet('{pattern}', hive_partitioning = true)"
        return connection.execute(sql).fetchall()


def test_query_to_parquet(cli: Cli, log: Path, tmp_path: Path) -> None:
    target = tmp_path / "sizes.parquet"
    answer = cli("query", log, "SELECT size, domain FROM allocations ORDER BY alloc_seq", "-o", target)
    assert (answer.status, answer.out, answer.err) == (0, "", "")
    assert read(target, "size, domain") == [(1000, "object")] * 5
    assert read(target, "typeof(size), typeof(domain)")[0] == ("BIGINT", "VARCHAR")
    assert target.stat().st_mode & 0o777 == log.stat().st_mode & 0o777
    assert cli("query", log, "SELECT 1", "-o", target).status == 2
    assert cli("query", log, "SELECT 1 AS n", "-o", target, "--force").status == 0
    assert read(target, "n") == [(1,)]
    named = tmp_path / "other.name"
    assert cli("query", log, "SELECT 2 AS n", "-o", named, "--format", "parquet", "--no-cache").status == 0
    assert read(named, "n") == [(2,)]


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELECT error('on the way') FROM allocations", "sql"),
        ("SELECT nothing", "sql"),
        ("SELECT 1; SELECT 2", "sql"),
        ("SELECT list(range) FROM range(30000000)", "memory-limit"),
    ],
)
def test_parquet_that_fails_leaves_nothing(cli: Cli, log: Path, tmp_path: Path, sql: str, code: str) -> None:
    target = tmp_path / "out.parquet"
    target.write_text("precious")
    answer = cli("query", log, sql, "-o", target, "--force", "--memory-limit", "50MiB")
    assert answer.status == 2
    assert answer.err.startswith(f"tracekit: error[{code}]: ")
    assert target.read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_parquet_needs_a_file(cli: Cli, log: Path) -> None:
    answer = cli("query", log, "SELECT 1", "--format", "parquet")
    assert (answer.status, answer.out) == (2, "")
    assert "error[usage]: --format parquet needs a file to write; give one with -o FILE.parquet" in answer.err
    assert "no regular file" in cli("query", log, "SELECT 1", "--format", "parquet", "-o", "/dev/null").err


def test_units(cli: Cli, log: Path) -> None:
    sql = "SELECT sum(size) AS bytes, max(allocated_ns) AS at_ns FROM allocations"
    assert cli("query", log, sql, "--human").out == "  bytes   at_ns\n-------  ------\n4.9 KiB  2.0 ms\n"
    assert cli("query", log, sql, "--human", "--json").document == [{"bytes": 5000, "at_ns": 2000000}]


@pytest.mark.parametrize("cache", [True, False], ids=["cache", "no-cache"])
def test_export(cli: Cli, tmp_path: Path, cache: bool) -> None:
    fresh = make_log(tmp_path / "app.tkt")
    folder = tmp_path / "it's" / "tables"
    folder.parent.mkdir()
    answer = cli("export", fresh, folder, *([] if cache else ["--no-cache"]))
    assert (answer.status, answer.out) == (0, "")
    assert f"tracekit: wrote {folder}: " in answer.err
    assert "tracekit: next: duckdb -c " in answer.err
    assert fresh.with_name(fresh.name + ".duckdb").exists() is cache
    assert [path.name for path in folder.parent.iterdir()] == ["tables"]
    assert folder.stat().st_mode & 0o777 == tmp_path.parent.stat().st_mode & 0o777 | 0o055
    files = Path(str(folder).replace("'", "''"))
    columns = "trace_id, alloc_seq, size, domain, typeof(domain)"
    rows = read(files / "allocations" / "*" / "*.parquet", columns)
    assert sorted(rows)[0] == (1, 1, 1000, "object", "VARCHAR")
    assert len(rows) == 5
    assert read(files / "arenas" / "*" / "*.parquet") == [(0,)]
    assert read(files / "traces" / "*" / "*.parquet", "typeof(allocated_bytes)") == [("DECIMAL(38,0)",)]
    assert not (folder / "store_identity").exists()
    assert not (folder / "sites").exists()


def test_every_table_and_view_is_exported(cli: Cli, log: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    assert cli("export", log, folder, "--views").status == 0
    listed = json.loads(
        cli(
            "query",
            log,
            """SELECT table_name AS name FROM duckdb_tables() WHERE NOT internal
               UNION ALL SELECT view_name FROM duckdb_views() WHERE NOT internal""",
            "--json",
        ).out
    )
    assert {row["name"] for row in listed} - {"store_identity"} == {path.name for path in folder.iterdir()}
    for path in folder.iterdir():
        counted = cli("query", log, f"SELECT count(*) AS n FROM {path.name}", "--json").document
        assert read(path / "*" / "*.parquet") == [(counted[0]["n"],)]


def test_several_recordings_are_partitions(log: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    folder.mkdir()
    with open_store(log, cache=False, access=Access(folder=folder, allow_external=True)) as store:
        add_a_second(store)
        done = {table.name: table for table in export_tables(store, folder)}
    assert (done["marks"].rows, done["marks"].files) == (6, 2)
    assert read(folder / "marks" / "*" / "*.parquet", "DISTINCT trace_id") in ([(1,), (2,)], [(2,), (1,)])


def add_a_second(store: Store) -> None:
    """The same recording under another number."""
    connection = store._database.connection
    for table in ("traces", "marks"):
        connection.execute(f"INSERT INTO {table} SELECT * REPLACE (2 AS trace_id) FROM {table}")


def test_export_where_something_is(cli: Cli, log: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    folder.mkdir()
    assert cli("export", log, folder, "--views").status == 0  # an empty folder will do
    (folder / "mine.txt").write_text("precious")
    answer = cli("export", log, folder)
    assert answer.status == 2
    assert "error[output-exists]" in answer.err
    other = make_log(tmp_path / "other.tkt", names=["more"])
    assert cli("export", other, folder, "--force").status == 0
    assert read(folder / "allocations" / "*" / "*.parquet") == [(6,)]
    assert not (folder / "events").exists(), "a view of the earlier export would contradict these tables"
    assert (folder / "mine.txt").read_text() == "precious"
    assert sorted(path.name for path in folder.iterdir() if not path.is_dir()) == ["mine.txt"]


def test_export_does_not_touch_files_of_others(cli: Cli, log: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    (folder / "marks").mkdir(parents=True)
    (folder / "marks" / "notes.txt").write_text("precious")
    answer = cli("export", log, folder, "--force")
    assert answer.status == 2
    assert "notes.txt is not of an export of tracekit" in answer.err
    assert [path.relative_to(folder).as_posix() for path in folder.rglob("*")] == ["marks", "marks/notes.txt"]


def test_export_to_what_is_no_folder(cli: Cli, log: Path, tmp_path: Path) -> None:
    for target in (log, tmp_path / "no" / "such"):
        answer = cli("export", log, target)
        assert (answer.status, answer.out) == (2, "")
        assert "error[output-unwritable]" in answer.err
    assert "cannot be 'csv'" in cli("export", log, tmp_path / "out", "--format", "csv").err


def small_files() -> None:
    """Let no file grow beyond 64 KiB, as if the disk were full."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))


def test_a_full_disk(cli: Cli, log: Path, tmp_path: Path) -> None:
    cli("query", log, "SELECT 1")  # so that the tables are there
    done = subprocess.run(
        [*PROGRAM, "query", str(log), "SELECT random() FROM range(1000000)", "-o", "out.parquet"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        preexec_fn=small_files,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 2
    assert (
        done.stderr == "tracekit: error[output-unwritable]: out.parquet cannot be written: File too large\n"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["app.tkt", "app.tkt.duckdb"]


@pytest.mark.parametrize("name", ["out.parquet", "out.csv"])
def test_ctrl_c_leaves_nothing(log: Path, tmp_path: Path, name: str) -> None:
    endless = "SELECT range, md5(range::VARCHAR) AS m FROM range(1000000000)"
    command = [*PROGRAM, "query", str(log), endless, "-o", name]
    with running(command, cwd=tmp_path, env=environment()) as query:
        while not any(path.stat().st_size for path in tmp_path.glob(".out.*")):
            assert query.poll() is None
            time.sleep(0.05)
        query.send_signal(signal.SIGINT)
        assert query.wait(60) == 130
    assert sorted(path.name for path in tmp_path.iterdir()) == ["app.tkt", "app.tkt.duckdb"]
