"""What a figure depends on beside the program: the machine, the system and the versions."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from pathlib import Path

from benchmarks.programs import NEEDS
from benchmarks.recorders import RECORDERS
from benchmarks.results import Facts


def facts(*packages: str) -> Facts:
    """The facts of this machine; nothing that names it. ``packages`` are told besides the usual ones."""
    return Facts(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)),
        memory=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        kernel=f"{platform.system()} {platform.release()}",
        machine=platform.machine(),
        python=f"CPython {platform.python_version()} ({platform.python_compiler()})",
        versions=_versions(packages),
    )


def _cpu() -> str:
    """Model name of the processor (proc_cpuinfo(5)); not every architecture tells it."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return " ".join(value.split())
    return "unknown processor"


def _versions(more: Iterable[str]) -> dict[str, str]:
    """Versions of the recorders and of what the workloads import, by distribution."""
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

    packages = {recorder.package for recorder in RECORDERS.values() if recorder.package}
    packages |= {package for packages in NEEDS.values() for package in packages} | set(more)
    found = {}
    for package in sorted(packages):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
