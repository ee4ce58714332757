# SPDX-License-Identifier: ISC
"""How every command of ours ends, and what it says of its version. Its exit status is one of docs/commands.md.

Ours on MicroPython use this too, and it is imported each time that a shell script asks for an address: keep it small.
"""

import sys

from runtime import IS_MICRO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

FAILED = 1
EPIPE = 32


def end_with(main: "Callable[[], int | str | None]") -> "NoReturn":
    """End the process with what main returns or exits with.

    Who reads the output may be satisfied before its end (`| head`): that is no error of ours to tell of.
    """
    try:
        try:
            status = main()
        except SystemExit as ended:  # argparse's, after its help
            status = ended.args[0] if ended.args else None
        if hasattr(sys.stdout, "flush"):
            sys.stdout.flush()
    except OSError as error:
        if not error.args or error.args[0] != EPIPE:
            raise
        status = FAILED
        if not IS_MICRO:  # which keeps nothing back that it would write at its end
            import os

            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


def version_of(program: str) -> str:
    """Return what `PROGRAM --version` says, on both Pythons."""
    try:
        from runtime.usage import version  # routers have no argparse, and nobody else needs it
    except ImportError:
        from runtime.version import COMMIT, with_commit

        return with_commit(program, COMMIT)
    return version(program)
