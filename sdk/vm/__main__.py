# SPDX-License-Identifier: ISC
"""Run a command on a Debian kernel of its own: sdk/vm/run [OPTIONS] -- CMD.

The machine sees this machine's files, except /run, /dev, /proc and /sys. Its writes are lost when it ends, except those
in $OUT. CMD starts in this folder, without input, network and this one's environment. The exit status is CMD's, or:

124  the time is over
125  the machine ended without an exit status of CMD
126  CMD could not be started: a kernel module does not load, or a folder is missing
130  Ctrl-C
2    a wrong command line
"""

import argparse
import sys
from pathlib import Path
from typing import NoReturn

from runtime import usage
from sdk.interrupt import run_program
from sdk.vm.kernels import VmError, find, tell
from sdk.vm.machine import MachineOptions, run

LIMIT_MAX_S = 86_400


class Parser(usage.Parser):
    def error(self, message: str) -> NoReturn:
        raise VmError(message)


def number(low: int, high: int):
    """Return a reader of whole numbers between two bounds."""

    def read(text: str) -> int:
        if not text.isdigit() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
        return int(text)

    return read


def module(text: str) -> Path:
    path = Path(text).resolve()
    if not path.is_file() or path.suffix != ".ko":
        raise argparse.ArgumentTypeError(f"{text!r} is not a kernel module's file (.ko)")
    if any(letter.isspace() for letter in str(path)):
        raise argparse.ArgumentTypeError(
            f"{str(path)!r} has a space in it, which a module's path may not have"
        )
    return path


def folder(text: str) -> Path:
    path = Path(text).resolve()
    if path.exists() and not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not a folder")
    return path


def read_arguments(words: list[str]) -> tuple[MachineOptions, list[str]]:
    parser = Parser(
        prog="sdk/vm/run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--kernel", metavar="VERSION", help="as `uname -r` says; otherwise what `make vm` fetched"
    )
    parser.add_argument(
        "--module", metavar="PATH", type=module, action="append", default=[], help="to load, a .ko"
    )
    parser.add_argument("--out", metavar="FOLDER", type=folder, help="where to leave what CMD writes to $OUT")
    parser.add_argument("--limit", metavar="SECONDS", type=number(1, LIMIT_MAX_S), default=600)
    parser.add_argument("--memory", metavar="MB", type=number(512, 1 << 20), default=3072)
    parser.add_argument(
        "--cpus", metavar="N", type=number(1, 64), default=1, help="with more, a kernel may hang in QEMU 7.2"
    )
    parser.add_argument(
        "--kernel-option", metavar="WORD", action="append", default=[], help="for its command line"
    )
    parser.add_argument("command", metavar="CMD", nargs="+")
    said = parser.parse_args(words)
    options = MachineOptions(
        kernel=find(said.kernel),
        modules=tuple(said.module),
        memory_mb=said.memory,
        processors=said.cpus,
        limit_s=said.limit,
        kernel_words=tuple(said.kernel_option),
        out=said.out,
    )
    return options, said.command


def main() -> int:
    try:
        return run(*read_arguments(sys.argv[1:]))
    except (VmError, OSError) as error:
        tell(error)
        return 2


if __name__ == "__main__":
    sys.exit(run_program("vm", main))
