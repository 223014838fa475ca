"""Recording: what runs inside the program under observation, and the collector that writes the log.

The package is also the function ``tracekit.record`` (:func:`tracekit.record.api.record`), because a program
that writes ``with tracekit.record("app.tkt"):`` means that.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from types import ModuleType

    from tracekit.record.api import Recording
else:
    ModuleType = type(sys)  # without the module types, which a program may do without

TARGET_MODULES = (
    "tracekit",
    "tracekit._native",
    "tracekit._version",
    "tracekit.errors",
    "tracekit.record",
    "tracekit.record.active",
    "tracekit.record.api",
    "tracekit.record.bootstrap",
    "tracekit.record.facts",
    "tracekit.record.forks",
    "tracekit.record.inventory",
    "tracekit.record.join",
    "tracekit.record.layouts",
    "tracekit.record.naming",
    "tracekit.record.native",
    "tracekit.record.portable",
    "tracekit.record.ring",
    "tracekit.record.signals",
    "tracekit.record.slots",
    "tracekit.record.texts",
)
"""The modules that the program under observation imports. They use the standard library only."""


class _Package(ModuleType):
    def __call__(
        self, output: "str | os.PathLike[str]", *, force: bool = False, engine: str = "auto"
    ) -> "Recording":
        from tracekit.record.api import record  # noqa: PLC0415 - for those that need it

        return record(output, force=force, engine=engine)


sys.modules[__name__].__class__ = _Package
