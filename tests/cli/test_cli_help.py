"""Every command explains itself, and the documentation explains every command."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cli_support import COMMANDS, Cli, start

import tracekit
from tracekit.cli.group import command_group

DOCS = Path(__file__).parents[2] / "docs" / "cli.md"


def section(command: str) -> str:
    text = DOCS.read_text(encoding="utf-8")
    match = re.search(rf"^## tracekit {command}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert match, f"docs/cli.md has no section on {command}"
    return match[1]


def test_the_list_of_commands_is_whole() -> None:
    assert sorted(command_group().commands) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help(cli: Cli, command: str) -> None:
    answer = cli(command, "--help")
    assert (answer.status, answer.err) == (0, "")
    assert answer.out.startswith(f"Usage: tracekit {command} [OPTIONS]")
    description, _, examples = answer.out.partition("Examples:\n")
    assert len(" ".join(description.split("\n\n")[1].split())) > 20
    assert f"tracekit {command} " in examples
    assert all(len(line) <= 80 for line in answer.out.splitlines())
    assert cli(command, "-h").out == answer.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_is_documented(cli: Cli, command: str) -> None:
    text = section(command)
    assert f"tracekit {command}" in text
    for option in re.findall(r"^ +(?:-\w, )?(--?[a-z-]+)", cli(command, "--help").out, re.MULTILINE):
        if option != "--help":
            assert f"`{option}" in text, f"docs/cli.md does not explain {option} of {command}"


def test_documentation_names_no_option_that_does_not_exist(cli: Cli) -> None:
    for command in COMMANDS:
        known = set(re.findall(r"--?[a-z][a-z-]*", cli(command, "--help").out))
        for option in re.findall(r"`(--[a-z-]+)", section(command)):
            assert option in known, f"{command} has no {option}"


def test_program_help(cli: Cli) -> None:
    answer = cli("--help")
    assert answer.status == 0
    for command in COMMANDS:
        assert f"\n  {command} " in answer.out
    assert "Examples:" in answer.out
    assert all(len(line) <= 80 for line in answer.out.splitlines())
    assert cli() == answer


def test_version(cli: Cli) -> None:
    answer = cli("--version")
    assert (answer.status, answer.out, answer.err) == (0, f"tracekit {tracekit.__version__}\n", "")


def test_help_in_a_pipe_is_plain_text() -> None:
    answer = start("replay", "--help", FORCE_COLOR="1", COLUMNS="200")
    assert answer.status == 0
    assert "\x1b" not in answer.out
