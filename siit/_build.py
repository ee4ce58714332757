# SPDX-License-Identifier: ISC
"""Compile the translator and the pump into the extension module siit._siit: `python -m siit._build`.

Every *.c of siit/src and siit/bpf is compiled in, but for the BPF program: its instructions are in siit/bpf/insns.h.
What Python sees of it is what stands between the marks `cffi: begin` and `cffi: end` in the headers, so that no
declaration is written twice: a file that wants to be called from Python puts the marks into its header.
"""

import os
import re
import sys
from pathlib import Path

from cffi import FFI  # type: ignore[import-untyped]

HERE = Path(__file__).resolve().parent
FOLDERS = (HERE / "src", HERE / "bpf")
MARKED = re.compile(r"/\* cffi: begin \*/\n(.*?)/\* cffi: end \*/", re.DOTALL)
NUMBER = re.compile(r"^#define (\w+)[ \t]+[^\n]*$", re.MULTILINE)
# what translator.py hands to the translator as its emit function
COLLECT = 'extern "Python" void siit_collect(void *context, const struct siit_packet *packet);'
FLAGS = ["-std=gnu11", "-O3", "-fvisibility=hidden", "-Wall", "-Wextra"]


def files(pattern: str) -> list[Path]:
    return sorted(
        path for folder in FOLDERS for path in folder.glob(pattern) if not path.name.endswith(".bpf.c")
    )


def headers() -> list[Path]:
    """The headers that have something for Python; siit.h first, since the others build on it."""
    marked = (path for path in files("*.h") if MARKED.search(path.read_text()))
    return sorted(marked, key=lambda path: (path.name != "siit.h", path.name))


def declarations(header: Path) -> str:
    """A header's marked part as cffi reads it: the compiler knows the macros' values."""
    return "".join(NUMBER.sub(r"#define \1 ...", part) for part in MARKED.findall(header.read_text()))


def make(top: str | None = None) -> FFI:
    """Return what compiles it. top: the folder that sources are named from; None: by their full names."""
    builder = FFI()
    for header in headers():
        builder.cdef(declarations(header))
    builder.cdef(COLLECT)
    builder.set_source(
        "siit._siit",
        "".join(f'#include "{header.name}"\n' for header in headers()),
        sources=[os.path.relpath(path, top) if top else str(path) for path in files("*.c")],
        depends=[os.path.relpath(path, top) if top else str(path) for path in files("*.h")],
        include_dirs=[str(folder) for folder in FOLDERS],
        extra_compile_args=FLAGS,
    )
    return builder


def make_for_pip() -> FFI:
    """The same for setup.py, which takes no full names."""
    return make(str(HERE.parent))


def build(work: Path) -> Path:
    """Compile in `work`, then put the module beside this file; return its path.

    It is put there in one step: a process that has it loaded, or loads it meanwhile, sees the old or the new.
    """
    work.mkdir(parents=True, exist_ok=True)
    built = Path(make().compile(tmpdir=str(work), verbose=True))
    target = HERE / built.name
    built.replace(target)
    return target


if __name__ == "__main__":
    os.umask(0o022)
    print(build(HERE.parent / "build" / "cffi"), file=sys.stderr)
