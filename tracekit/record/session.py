"""One recording from the outside: start the program, collect until it is gone, close the log.

The program is run by a plain ``python`` with its own arguments; all that differs is one folder on PYTHONPATH,
which takes itself away again before the program begins (``_site/sitecustomize.py``). This process waits for
the program as a shell would, passes on the signals that only it received, and reports the program's own exit
status.
"""

from __future__ import annotations

import contextlib
import os
import sys

from tracekit.errors import PlatformError, ProgramMissingError
from tracekit.record.loading import load_numpy
from tracekit.record.outputs import Output
from tracekit.record.process import Child, let_program_run
from tracekit.record.ringfile import DEFAULT_CAPACITY, RingFile
from tracekit.record.select import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final, Literal

    from tracekit.record.recorded import Recorded

    Kind = Literal["script", "module", "code"]

SYNC_INTERVAL_NS: Final = 20_000_000
IDLE_SECONDS: Final = 0.002
MAX_FRAMES: Final = 64
RING_SLOTS = DEFAULT_CAPACITY


def _do_nothing(_: str = "") -> None:
    """For those who do not want to be told, and have nothing to do."""


class Program:
    """What to run, as python's command line knows it: ``SCRIPT``, ``-m MODULE`` or ``-c CODE``."""

    def __init__(self, kind: Kind, target: str, args: list[str]) -> None:
        self.kind = kind
        self.target = target
        self.args = args

    @property
    def arguments(self) -> list[str]:
        """The arguments that python gets."""
        option = {"script": [], "module": ["-m"], "code": ["-c"]}[self.kind]
        return [*option, self.target, *self.args]


class RecordOptions:
    """How to record. ``output`` None means :func:`default_output`; ``max_frames`` is a limit a call path.

    ``follow``: Python processes that descend from the program are recorded, too, each into a log of its own.
    ``source``: the log holds the text of the lines that call paths refer to.
    ``tell`` gets a line now and then when the program is over and the recording is not.
    ``meanwhile`` is called once, while the program starts.
    """

    def __init__(  # noqa: PLR0913 - the options
        self,
        *,
        program: Program,
        output: str | os.PathLike[str] | None = None,
        force: bool = False,
        engine: str = "auto",
        max_frames: int = MAX_FRAMES,
        follow: bool = False,
        source: bool = True,
        tell: Callable[[str], None] = _do_nothing,
        meanwhile: Callable[[], None] = _do_nothing,
    ) -> None:
        self.program = program
        self.output = output
        self.force = force
        self.engine = engine
        self.max_frames = max_frames
        self.follow = follow
        self.source = source
        self.tell = tell
        self.meanwhile = meanwhile


def default_output(program: Program) -> str:
    """Where a recording goes when nobody says: ``app.tkt`` for ``app.py`` and for ``-m package.app``."""
    if program.kind == "code" or program.target == "-":
        return "command.tkt"
    if program.kind == "module":
        return f"{program.target.rpartition('.')[2] or 'module'}.tkt"
    name = os.path.basename(os.path.realpath(program.target))
    return f"{os.path.splitext(name)[0] or 'script'}.tkt"


def record(options: RecordOptions) -> Recorded:
    """Run a program and record it.

    Raises ProgramMissingError, OutputExistsError, OutputUnwritableError, EngineUnavailableError or
    PlatformError before the program is started; nothing is written then. Once the program runs, trouble of
    the recorder's own ends the recording, not the program, and is told in ``notices``.
    """
    if not sys.platform.startswith("linux"):
        raise PlatformError(f"recording works on Linux only so far, and this is {sys.platform}")
    selection = select(options.engine)
    program = options.program
    _check_program(program)
    path = default_output(program) if options.output is None else options.output
    output = Output(path, force=options.force)
    with contextlib.ExitStack() as stack:
        stack.callback(output.discard)
        ring = RingFile(max_frames=options.max_frames, sync_interval_ns=SYNC_INTERVAL_NS, capacity=RING_SLOTS)
        if selection.engine == "native":
            ring.start_stamps()
        door = None
        if options.follow:
            from tracekit.record.door import Door  # noqa: PLC0415 - for those that need it

            door = Door(selection.engine)
            stack.callback(door.close)
        environment = _environment(ring.path, selection.engine, "" if door is None else door.address)
        child = stack.enter_context(Child(program.arguments, environment))
        stack.callback(let_program_run())
        try:
            # The program starts while this process loads what it takes to read and write.
            load_numpy()
            from tracekit.record.collection import Collection  # noqa: PLC0415

            options.meanwhile()
            collection = Collection(options, selection, ring, output, child, door)
        except BaseException:
            ring.stop_target()
            while child.running:
                child.wait(IDLE_SECONDS)
                child.pass_on_signals()
            raise
        collection.run()
        return collection.recorded()


def _environment(ring_path: str, engine: str, follow: str = "") -> dict[str, str]:
    environment = dict(os.environ)
    if _locale_was_coerced():
        del environment["LC_CTYPE"]
    site = os.path.join(os.path.dirname(os.path.realpath(__file__)), "_site")
    before = environment.get("PYTHONPATH")
    if environment.pop("TRACEKIT_FOLLOW", None) and before is not None:
        # We are followed ourselves; the program is ours alone.
        before = os.pathsep.join(entry for entry in before.split(os.pathsep) if entry != site) or None
    environment["PYTHONPATH"] = f"{site}{os.pathsep}{before}" if before else site
    environment["TRACEKIT_RING"] = ring_path
    environment["TRACEKIT_ENGINE"] = engine
    if follow:
        environment["TRACEKIT_FOLLOW"] = follow
    elif before is not None:
        environment["TRACEKIT_PYTHONPATH"] = before
    return environment


def _locale_was_coerced() -> bool:
    """Whether Python itself set LC_CTYPE, in the locale "C" (PEP 538): the program's Python will, too."""
    if os.environ.get("LC_CTYPE") not in {"C.UTF-8", "C.utf8", "UTF-8"}:
        return False
    try:
        with open("/proc/self/environ", "rb") as file:
            inherited = file.read()
    except OSError:
        return False
    return not any(entry.startswith(b"LC_CTYPE=") for entry in inherited.split(b"\0"))


def _check_program(program: Program) -> None:
    if program.kind != "script" or program.target == "-":
        return
    path = program.target
    if not os.path.exists(path):
        raise ProgramMissingError(f"there is no script {program.target!r} here", hint="check the path")
    if os.path.isdir(path) and not os.path.exists(os.path.join(path, "__main__.py")):
        raise ProgramMissingError(f"{program.target} is a folder without a __main__.py")
    if not os.access(path, os.R_OK):
        raise ProgramMissingError(f"{program.target} cannot be read")
