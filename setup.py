"""The C extensions; everything else about the package stands in pyproject.toml.

Both are optional: where they cannot be compiled the installation goes on with a warning, and recording falls
back to the portable engine.
"""

import os
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, LinkError

NATIVE = Path("tracekit") / "_native"
WARNINGS = ["-Wall", "-Wextra", "-Wno-missing-field-initializers", "-Wno-unused-parameter"]
ACROSS_FILES = ["-flto=auto"]
"""The hot path runs through several files, and costs a seventh less when the compiler sees them together."""


class BuildNative(build_ext):
    """Optimises across files where the compiler and the linker agree to that, both extensions at a time."""

    def finalize_options(self) -> None:
        """Build them side by side unless told otherwise."""
        super().finalize_options()
        if not self.parallel:
            self.parallel = True

    def build_extension(self, ext: Extension) -> None:
        """Build with optimisation across files, or without it if that fails."""
        plain = list(ext.extra_compile_args), list(ext.extra_link_args)
        ext.extra_compile_args += ACROSS_FILES
        ext.extra_link_args += ["-O2", *ACROSS_FILES]
        try:
            super().build_extension(ext)
        except (CompileError, LinkError):
            ext.extra_compile_args, ext.extra_link_args = plain
            self.force = True
            super().build_extension(ext)


def extension(name: str, sources: list[str], include: list[str]) -> Extension:
    """An extension of plain C with our warnings on."""
    return Extension(
        f"tracekit._native.{name}",
        [str(NATIVE / f"{source}.c") for source in sources],
        depends=[str(path) for path in sorted(NATIVE.glob("*.h"))],
        include_dirs=include,
        extra_compile_args=["-std=gnu11", "-O2", "-g", "-fvisibility=hidden", *WARNINGS],
        optional="TRACEKIT_REQUIRE_NATIVE" not in os.environ,
    )


kernels = sorted(path.stem for path in NATIVE.glob("kernels*.c"))
engine = [
    "module",
    "hooks",
    "stack",
    "nodes",
    "types",
    "live",
    "marks",
    "older",
    "settings",
    "threads",
    "text",
    "ring",
]
headers = Path(sysconfig.get_path("include"))

# The hooks are written for CPython on Linux; its internal headers describe the frames of the interpreter.
supported = sys.platform.startswith("linux") and sys.implementation.name == "cpython"
setup(
    ext_modules=[
        extension("_kernels", kernels, []),
        extension("_engine", engine, [str(headers / "internal")]),
    ]
    if supported
    else [],
    cmdclass={"build_ext": BuildNative},
)
