"""A program for a fresh interpreter: it drives pymalloc as told and prints the allocator's own statistics.

    python -I -S simulator_reality.py SEED OPERATIONS CHECKPOINTS PHASES

Before it begins it fills every hole in pymalloc: all available blocks of the size classes it will use, and
all free pools. So each arena that follows holds only its own pools, as in a model that starts empty.
It prints a JSON line then, and one at each checkpoint: what ``sys._debugmallocstats`` says. Standard library
only, and nothing of tracekit: it must not disturb what it measures. The test imports :func:`operations`, so
that the model is driven through the same sequence.
"""

from __future__ import annotations

import json
import os
import sys

BYTES_HEADER = 33
"""``sys.getsizeof(b"")``: what a bytes object needs besides its bytes."""

CLASS_BYTES = (80, 96, 112, 128, 160, 192, 256, 320, 384, 448, 512)
"""Size classes used, by the bytes of their blocks: those that the interpreter itself uses little."""


def operations(seed: int, count: int, phases: int) -> tuple[list[tuple[int, int]], int]:
    """``(slot, size)`` for an allocation of ``size`` bytes, ``(slot, 0)`` for the free of a slot; the slots.

    Phases of growth (three allocations to one free, of any live block) and of decline (the reverse, of one
    of the 2000 oldest blocks, so that whole arenas become free). A linear congruential generator draws, so
    that no version of ``random`` matters.
    """
    state, slot = seed, 0
    live: list[int] = []
    result: list[tuple[int, int]] = []
    for step in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        draw = state >> 33
        growing = step * phases // count % 2 == 0
        if not live or (draw % 4 != 0) == growing:
            size = CLASS_BYTES[draw // 4 % len(CLASS_BYTES)] - draw // 64 % 16
            live.append(slot)
            result.append((slot, size))
            slot += 1
        else:
            among = len(live) if growing else min(2000, len(live))
            result.append((live.pop(draw // 4 % among), 0))
    return result, slot


def statistics() -> str:
    """What ``sys._debugmallocstats`` writes to the standard error."""
    saved, sink = os.dup(2), os.memfd_create("statistics")
    os.dup2(sink, 2)
    sys._debugmallocstats()
    os.dup2(saved, 2)
    os.lseek(sink, 0, os.SEEK_SET)
    text = b""
    while part := os.read(sink, 1 << 16):
        text += part
    os.close(saved)
    os.close(sink)
    return text.decode()


def parse(text: str) -> dict[str, int]:
    """Arenas now and at most, free pools, bytes lost to alignment; ``pools N``, ``holes N`` a block size."""
    found: dict[str, int] = {}
    for line in text.splitlines():
        words = line.replace(",", "").split()
        if len(words) == 5 and all(word.isdigit() for word in words):
            found["pools " + words[1]] = int(words[2])
            found["holes " + words[1]] = int(words[4])
        elif line.startswith("# arenas allocated current"):
            found["arenas"] = int(words[-1])
        elif line.startswith("# arenas highwater mark"):
            found["highwater"] = int(words[-1])
        elif line.startswith("# bytes lost to arena alignment"):
            found["lost"] = int(words[-1])
        elif "unused pools" in line:
            found["free pools"] = int(words[0])
    return found


def fill(kept: list[bytes]) -> str:
    """Take every available block of the size classes in use and every free pool; the statistics then.

    Plain loops, and a plain search at the end: between a fill and the statistics after it nothing of these
    sizes may come and go. What :func:`parse` needs for itself may take an arena, hence the repetition.
    """
    in_a_pool = (16384 - 48) // CLASS_BYTES[-1]
    text = statistics()
    for _ in range(10):
        before = parse(text)
        for size in CLASS_BYTES:
            for _ in range(before.get(f"holes {size}", 0)):
                kept.append(bytes(size - BYTES_HEADER))  # noqa: PERF401 (a generator is an allocation)
        for _ in range(before["free pools"] * in_a_pool):
            kept.append(bytes(CLASS_BYTES[-1] - BYTES_HEADER))  # noqa: PERF401
        text = statistics()
        if "\n0 unused pools" in text:
            return text
    raise SystemExit("pymalloc cannot be filled")


def main() -> None:
    seed, count, checkpoints, phases = map(int, sys.argv[1:])
    steps, slots = operations(seed, count, phases)
    steps = [(slot, size - BYTES_HEADER if size else -1) for slot, size in steps]
    table: list[bytes | None] = [None] * slots
    every = count // checkpoints
    kept: list[bytes] = []
    texts = [fill(kept)] + [""] * checkpoints
    for checkpoint in range(checkpoints):
        for slot, size in steps[checkpoint * every : (checkpoint + 1) * every]:
            table[slot] = bytes(size) if size >= 0 else None
        texts[checkpoint + 1] = statistics()
    for text in texts:
        sys.stdout.write(json.dumps(parse(text)) + "\n")


if __name__ == "__main__":
    main()
