"""Everything that can go wrong, each with a stable code that docs/errors.md explains.

An error is one line for the person who reads it: what happened, where, and what to do next. The command
line prints it as ``tracekit: error[CODE]: message`` and exits with :attr:`TracekitError.exit_status`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar


class TracekitError(Exception):
    """Base of all errors that tracekit raises on purpose.

    ``message`` says what and where, ``hint`` (optional) what to do about it.
    """

    code: ClassVar[str] = "error"
    exit_status: ClassVar[int] = 2

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        first, newline, rest = self.message.partition("\n")
        return f"{first}; {self.hint}{newline}{rest}" if self.hint else self.message


class UsageError(TracekitError):
    """The command line does not make sense as it was typed."""

    code = "usage"


class FileMissingError(TracekitError):
    """A file that should be read does not exist or cannot be opened."""

    code = "file-missing"


class NotALogError(TracekitError):
    """The file does not begin like a tracekit log, or ends before its header does."""

    code = "not-a-log"


class LogVersionError(TracekitError):
    """The log was written in a format that this tracekit does not read."""

    code = "log-version"


class LogCorruptError(TracekitError):
    """A record of the log fails its checksum or contradicts itself."""

    code = "log-corrupt"


class OutputExistsError(TracekitError):
    """The file to be written exists and ``--force`` was not given."""

    code = "output-exists"


class OutputUnwritableError(TracekitError):
    """The file to be written cannot be created, or the disk refused it."""

    code = "output-unwritable"


class MomentSyntaxError(TracekitError):
    """A MOMENT that does not parse."""

    code = "moment-syntax"


class MomentMissingError(TracekitError):
    """A MOMENT that parses but does not exist in this trace."""

    code = "moment-missing"


class SqlError(TracekitError):
    """DuckDB refused a query; its own message follows."""

    code = "sql"


class MemoryLimitError(TracekitError):
    """A query needs more memory than it may take, also with what DuckDB can spill to disk."""

    code = "memory-limit"


class ProgramMissingError(TracekitError):
    """The program to record does not exist."""

    code = "program-missing"


class EngineUnavailableError(TracekitError):
    """The engine that was asked for cannot run here."""

    code = "engine-unavailable"


class AlreadyRecordingError(TracekitError):
    """A process cannot be recorded twice at the same time."""

    code = "already-recording"


class CollectorError(TracekitError):
    """The process that writes the log of ``with tracekit.record(...)`` could not start, or was lost."""

    code = "collector"


class StoreError(TracekitError):
    """The DuckDB store of a log cannot be built or opened."""

    code = "store"


class ScenarioError(TracekitError):
    """The settings of a simulation contradict themselves or make no sense."""

    code = "scenario"


class ArenasUnknownError(TracekitError):
    """The recording has no arenas of pymalloc to look into, or does not say where its blocks lay."""

    code = "arenas-unknown"


class ExtraMissingError(TracekitError):
    """A command needs a library of an optional extra that is not installed."""

    code = "extra-missing"


class PlatformError(TracekitError):
    """The operating system or interpreter lacks something that recording needs."""

    code = "platform"


def all_errors() -> list[type[TracekitError]]:
    """Every concrete error class, in the order of this file (docs/errors.md is held against it)."""
    return list(TracekitError.__subclasses__())
