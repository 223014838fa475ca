"""Writes a synthetic log: ``python -m benchmarks.synthetic RECORDED.tkt --events 100M -o big.tkt``.

Every site, size, type, thread and young block's lifetime is drawn from the recorded log; what lives longer is
stretched over the length of the new one, and the number of blocks alive stays what it is asked to be.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from benchmarks.synthetic.generate import ALIVE, generate
from benchmarks.synthetic.model import read_model
from tracekit.errors import TracekitError

SCALES = {"k": 10**3, "M": 10**6, "G": 10**9}


def number(text: str) -> int:
    """A count like ``300``, ``300k``, ``1.5M`` or ``1G``."""
    scale = SCALES.get(text[-1:], 0)
    return round(float(text[:-1]) * scale) if scale else int(text)


def main(arguments: list[str] | None = None) -> int:
    """Write the log; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.synthetic", description="Write a log of any length after a recorded one."
    )
    parser.add_argument("model", type=Path, help="a recorded log")
    parser.add_argument("--events", type=number, required=True, help="how many, like 300k or 100M")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the log to write")
    parser.add_argument("--alive", type=number, default=ALIVE, help=f"blocks alive at a time ({ALIVE})")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    try:
        start = time.perf_counter()
        model = read_model(options.model)
        read = time.perf_counter()
        totals = generate(model, options.output, options.events, alive=options.alive, seed=options.seed)
    except (TracekitError, ValueError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    took = time.perf_counter() - read
    size = options.output.stat().st_size
    print(
        f"{totals.events:,} events in {took:.1f} s ({totals.events / took / 1e6:.2f} M events/s; "
        f"{read - start:.1f} s for reading the model), {size / totals.events:.2f} bytes an event, "
        f"{totals.end_blocks:,} blocks alive at the end"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
