"""Keeps the program's signal handlers out of the engine's frames.

CPython runs a signal handler between two instructions of the main thread, whosever frame that is. One that
raises in a frame of the engine would leave a traceback with the recorder in it, or none at all where CPython
drops exceptions (in ``gc.callbacks``). So the engine's most frequent ways contain no instruction that looks
for signals, and what a handler raises elsewhere in the engine is raised again in the program's own frame.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _thread
import opcode
import time
from _operator import methodcaller
from functools import partial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

ALL_SIGNALS = frozenset(_signal.valid_signals())


class _Clock:
    """``-CLOCK`` is time.perf_counter(): operators, unlike calls, do not look for signals."""

    __neg__ = time.perf_counter


class _Trip:
    """``TRIP + signum`` acts as if the signal had arrived, without looking for signals itself."""

    __add__ = _thread.interrupt_main


CLOCK: Any = _Clock()
TRIP: Any = _Trip()


def without_signal_check(function: Any) -> Any:
    """The same function, which does not look for signals on entry.

    RESUME does unless its argument says that a ``yield from`` is resumed (2; see RESUME in Python/bytecodes.c
    of 3.12, Python/ceval.c of 3.11).
    """
    code = bytearray(function.__code__.co_code)
    resume = opcode.opmap["RESUME"]
    for at in range(0, len(code), 2):
        if code[at] == resume:
            code[at + 1] = 2
            break
    function.__code__ = function.__code__.replace(co_code=bytes(code))
    return function


def block_signals(raised: list[BaseException]) -> set[Any]:
    """Block all signals in this thread and return the mask there was.

    Handlers that wait run now; what they raise is appended to ``raised``.
    """
    before: set[Any] | None = None
    while True:
        try:
            if before is None:
                before = _signal.pthread_sigmask(_signal.SIG_BLOCK, ())
            _signal.pthread_sigmask(_signal.SIG_BLOCK, ALL_SIGNALS)
        except BaseException as error:  # noqa: BLE001
            raised.append(error)
        else:
            return before


def restore_signals(before: set[Any], raised: list[BaseException]) -> None:
    """Undo :func:`block_signals`. Handlers of what arrived meanwhile run now."""
    try:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, before)
    except BaseException as error:  # noqa: BLE001
        raised.append(error)


class HandedOn:
    """An exception on its way from a frame of the engine to the program's.

    It travels as the handler of a signal that nobody uses. That handler raises in C, so that the traceback
    goes from the program's frame to the program's handler as if nothing had been between them.
    """

    def __init__(self, error: BaseException, own_files: frozenset[str]) -> None:
        traceback: TracebackType | None = error.__traceback__
        while traceback is not None and traceback.tb_frame.f_code.co_filename in own_files:
            traceback = traceback.tb_next
        error.__traceback__ = self._traceback = traceback
        self._error = error
        self.number: int = next(
            number
            for number in sorted(ALL_SIGNALS, reverse=True)
            if _signal.getsignal(number) is _signal.SIG_DFL
        )
        _signal.signal(self.number, _Raise(error))

    @property
    def arrived(self) -> bool:
        """Whether it has been raised again."""
        return self._error.__traceback__ is not self._traceback

    def release(self) -> None:
        """Give the signal back."""
        _signal.signal(self.number, _signal.SIG_DFL)


class _Raise:
    """A callable that takes any arguments and raises, all in C: looking up ``__call__`` already raises."""

    __call__ = property(methodcaller("throw"))

    def __init__(self, error: BaseException) -> None:
        finished = (None for _ in "")
        list(finished)
        # A generator that is finished has no frame left to add.
        self.throw = partial(finished.throw, error)
