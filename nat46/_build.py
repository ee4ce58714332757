# SPDX-License-Identifier: ISC
"""Compile nat46.libc's declarations into the extension module nat46._libc: `python -m nat46._build`."""

import sys
from pathlib import Path

from cffi import FFI  # type: ignore[import-untyped]

from nat46.libc import DECLARATIONS, INCLUDES

HERE = Path(__file__).resolve().parent


def make() -> FFI:
    builder = FFI()
    builder.cdef(DECLARATIONS)
    builder.set_source("nat46._libc", INCLUDES)
    return builder


def build(work: Path) -> Path:
    """Compile in `work`, then put the module beside this file in one step; return its path."""
    work.mkdir(parents=True, exist_ok=True)
    built = Path(make().compile(tmpdir=str(work)))
    target = HERE / built.name
    built.replace(target)
    return target


if __name__ == "__main__":
    print(build(HERE.parent / "build" / "cffi"), file=sys.stderr)
