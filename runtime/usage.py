# SPDX-License-Identifier: ISC
"""What every command of ours says of a wrong command line (one sentence, and exit code 2), and of its version."""

import argparse
import os.path
from typing import Any, NoReturn

from runtime.version import COMMIT, with_commit

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def version(program: str) -> str:
    """Return what `PROGRAM --version` says: the version and the commit, in a checkout also whether files differ."""
    is_checkout = os.path.exists(os.path.join(ROOT, ".git"))
    return with_commit(program, find_commit() if is_checkout else COMMIT)


def find_commit() -> str:
    import subprocess  # what takes a moment and some memory; only developers come here

    words = ["git", "-C", ROOT, "describe", "--always", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


class Version(argparse.Action):
    """Prints the version only when it is asked for, as git takes a moment."""

    def __init__(self, option_strings: Any, dest: str, **options: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help="say which version this is")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        print(version(parser.prog))
        parser.exit()


class Subcommand(argparse.ArgumentParser):
    """One that says what is wrong in one line, and prints descriptions as they are."""

    def __init__(self, *words: Any, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*words, **options)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {' '.join(message.split())} ({self.prog} --help tells more)\n")


class Parser(Subcommand):
    """A command: its subcommands do so as well, and it alone has --version."""

    def __init__(self, *words: Any, **options: Any) -> None:
        super().__init__(*words, **options)
        self.add_argument("--version", action=Version)

    def add_subparsers(self, **options: Any) -> Any:
        options.setdefault("parser_class", Subcommand)
        return super().add_subparsers(**options)
