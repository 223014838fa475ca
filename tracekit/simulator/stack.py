"""What the frames of all threads take, as far as the call paths of allocations tell.

A frame of Python code lives on the data stack of its thread (``_PyThreadState_PushFrame`` in
Python/pystate.c). Its size is fixed by its code, so the call path that made an allocation says how far the
stack of that thread reached then. A thread that allocates nothing is taken to stay where it was.
"""

from __future__ import annotations

from tracekit.store.steps import IntArray


class Stacks:
    """The stacks of all threads. ``path_bytes[stack_id]``: bytes of the frames of a call path."""

    __slots__ = ("_of_thread", "_path_bytes", "peak_seq", "peak_stack_bytes", "stack_bytes")

    def __init__(self, path_bytes: IntArray) -> None:
        self.stack_bytes = 0
        self.peak_stack_bytes = 0
        self.peak_seq = -1
        self._path_bytes: list[int] = path_bytes.tolist()
        self._of_thread: dict[int, int] = {}

    def allocated(self, seq: int, thread_id: int, stack_id: int) -> None:
        """A thread allocated on a call path (0, or one that is not known: it has no frames)."""
        known = 0 <= stack_id < len(self._path_bytes)
        reached = self._path_bytes[stack_id] if known else 0
        self.stack_bytes += reached - self._of_thread.get(thread_id, 0)
        self._of_thread[thread_id] = reached
        if self.stack_bytes > self.peak_stack_bytes:
            self.peak_stack_bytes, self.peak_seq = self.stack_bytes, seq
