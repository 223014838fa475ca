"""Loads the heavy half of the collector, while the program already runs."""

from __future__ import annotations

import os
import sys


def load_numpy() -> None:
    """Import numpy without the threads that its OpenBLAS would start.

    Nothing here multiplies matrices, and starting them takes a quarter of the import's time.
    """
    name = "OPENBLAS_NUM_THREADS"
    if "numpy" in sys.modules or name in os.environ:
        return
    os.environ[name] = "1"
    try:
        import numpy as np  # noqa: F401, PLC0415
    finally:
        del os.environ[name]
