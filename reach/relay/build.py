# SPDX-License-Identifier: ISC
"""Compile the relay: `python -m reach.relay.build [OUTPUT]`, default build/bin/reach-relay. Needs a C compiler.

With REACH_CFLAGS in the environment these flags come behind ours, for sanitizers and other compilers' wishes.
"""

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from runtime import usage, version

HERE = Path(__file__).resolve().parent
PROGRAM = HERE.parent.parent / "build" / "bin" / "reach-relay"
FLAGS = [
    "-std=gnu11",
    "-O2",
    "-D_GNU_SOURCE",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-fstack-protector-strong",
]


def build(output: Path, flags: list[str]) -> None:
    """Raises CalledProcessError when it does not compile. The old program runs on until the new one is in place."""
    output.parent.mkdir(parents=True, exist_ok=True)
    sources = sorted(map(str, (HERE / "src").glob("*.c")))
    told = f'-DVERSION="{usage.version("reach-relay")}"'
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as folder:
        made = Path(folder) / output.name
        subprocess.run(
            [os.environ.get("CC", "cc"), *FLAGS, told, *flags, "-o", str(made), *sources], check=True
        )
        made.replace(output)


def is_current(output: Path) -> bool:
    """Whether the program is there, and newer than all its sources."""
    sources = [*(HERE / "src").glob("*.[ch]"), Path(__file__), Path(version.__file__)]
    return output.exists() and output.stat().st_mtime >= max(path.stat().st_mtime for path in sources)


if __name__ == "__main__":
    build(
        Path(sys.argv[1]) if len(sys.argv) > 1 else PROGRAM, shlex.split(os.environ.get("REACH_CFLAGS", ""))
    )
