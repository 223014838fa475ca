"""How a command is declared: a frozen dataclass of options and a function that takes it.

``register`` makes a typer command of the two. The function's docstring is the help: paragraphs, then a block
``Examples:``. Help is laid out here and not by typer, so that it is plain text that reads the same on a
terminal, in a pipe and under every release of typer.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from tracekit.cli.endings import run_command

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Options = TypeVar("Options", bound="DataclassInstance")

CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help"]}


class Command(TyperCommand):
    """A command whose help has a description, its arguments, its options and examples."""

    usage_arguments = ""
    """What stands behind [OPTIONS] in the usage line, when it is more than the arguments' names."""

    def get_help_option(self, ctx: Any) -> Any:
        """The option --help; ctx is click's."""
        return _plain_flag(super().get_help_option(ctx))

    def make_context(self, *arguments: Any, **extra: Any) -> Any:
        """Have strings and paths taken as they are, before the command line is parsed."""
        for param in self.params:
            annotation = getattr(getattr(param, "type_descriptor", None), "annotation", None)
            if annotation in _PLAIN and hasattr(param, "_runtime_param"):
                param._runtime_param = _Plain(_PLAIN[annotation])  # noqa: SLF001 - see there
        return super().make_context(*arguments, **extra)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help; ctx and formatter are click's."""
        description, examples = split_help(self.help or "")
        named = [param for param in self.get_params(ctx) if param.param_type_name == "argument"]
        arguments = self.usage_arguments or " ".join(_metavar(param) for param in named)
        formatter.write_usage(ctx.command_path, f"[OPTIONS] {arguments}".rstrip())
        for paragraph in description:
            formatter.write_paragraph()
            formatter.write_text(paragraph)
        _section(formatter, "Arguments", [(_metavar(param), _param_help(param)) for param in named])
        options = [param for param in self.get_params(ctx) if param.param_type_name == "option"]
        _section(formatter, "Options", [(_option_names(param), _param_help(param)) for param in options])
        if examples:
            with formatter.section("Examples"):
                formatter.write("".join(f"  {line}\n" for line in examples))


def _plain_flag(option: Any) -> Any:
    """A flag with a default that is one: another would be converted, for which typer loads pydantic."""
    if option is not None and option.default is None:
        option.default = False
    return option


class _Plain:
    """Takes the place of typer's conversion of a parameter that needs none.

    typer loads pydantic for it, even for a string, which is 0.1 s of the time of every command. A typer that
    knows nothing of ``_runtime_param`` converts as it always does.
    """

    def __init__(self, kind: Callable[[Any], Any]) -> None:
        self._kind = kind

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """The value of a parameter; param and ctx are click's."""
        del ctx
        if param.nargs == -1 or getattr(param, "multiple", False):
            return [self._kind(item) for item in value or ()]
        return value if value is None else self._kind(value)


_PLAIN: dict[Any, Callable[[Any], Any]] = {str: str, Path: Path, list[str]: str, list[Path]: Path}


class Group(TyperGroup):
    """The program itself: the commands in the order in which they are used, not that of the alphabet."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order of registration."""
        del ctx
        return list(self.commands)

    def get_help_option(self, ctx: Any) -> Any:
        """The option --help; ctx is click's."""
        return _plain_flag(super().get_help_option(ctx))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help; ctx and formatter are click's."""
        description, examples = split_help(self.help or "")
        formatter.write_usage(ctx.command_path, "[OPTIONS] COMMAND ...")
        for paragraph in description:
            formatter.write_paragraph()
            formatter.write_text(paragraph)
        rows = [(name, _first_sentence(command.help or "")) for name, command in self.commands.items()]
        _section(formatter, "Commands", rows)
        options = [param for param in self.get_params(ctx) if param.param_type_name == "option"]
        _section(formatter, "Options", [(_option_names(param), _param_help(param)) for param in options])
        if examples:
            with formatter.section("Examples"):
                formatter.write("".join(f"  {line}\n" for line in examples))


def register(
    app: typer.Typer, name: str, run: Callable[[Options], int], *, cls: type[Command] = Command
) -> None:
    """Add a command: ``run`` takes one frozen dataclass whose fields are typer parameters."""
    options: Any = next(iter(get_type_hints(run).values()))

    def call(**values: Any) -> int:
        return run_command(run, options(**values))

    hints = get_type_hints(options, include_extras=True)
    call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [_parameter(field, hints[field.name]) for field in fields(options)]
    )
    call.__annotations__ = hints
    call.__name__ = name
    app.command(name, cls=cls, help=inspect.getdoc(run), context_settings=CONTEXT_SETTINGS)(call)


def split_help(text: str) -> tuple[list[str], list[str]]:
    """(paragraphs of the description, lines of the examples) of a help text."""
    description, _, examples = inspect.cleandoc(text).partition("Examples:\n")
    paragraphs = [" ".join(part.split()) for part in description.split("\n\n")]
    return [part for part in paragraphs if part], inspect.cleandoc(examples).splitlines()


def _parameter(field: Any, annotation: Any) -> inspect.Parameter:
    default = inspect.Parameter.empty
    if field.default is not MISSING:
        default = field.default
    elif field.default_factory is not MISSING:
        default = field.default_factory()
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def _section(formatter: Any, title: str, rows: Iterable[tuple[str, str]]) -> None:
    present = list(rows)
    if present:
        with formatter.section(title):
            formatter.write_dl(present)


def _metavar(param: Any) -> str:
    return str(param.metavar or param.name.upper())


def _option_names(param: Any) -> str:
    names = ", ".join(sorted(param.opts, key=len))
    return names if getattr(param, "is_flag", False) else f"{names} {_metavar(param)}"


def _param_help(param: Any) -> str:
    text = str(getattr(param, "help", None) or "")
    shown = param.default is not None and getattr(param, "show_default", True)
    if shown and not isinstance(param.default, (bool, list)) and not callable(param.default):
        text = f"{text} [default: {param.default}]"
    return text


def _first_sentence(text: str) -> str:
    paragraphs, _ = split_help(text)
    return paragraphs[0].split(". ")[0].rstrip(".") if paragraphs else ""
