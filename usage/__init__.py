# SPDX-License-Identifier: ISC
"""What every command of ours says of a wrong command line: one sentence, and exit code 2."""

import argparse
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """One that says what is wrong in one line, and prints descriptions as they are; its subcommands do so, too."""

    def __init__(self, *words: Any, **options: Any) -> None:
        super().__init__(*words, **{"formatter_class": argparse.RawDescriptionHelpFormatter, **options})

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {' '.join(message.split())} ({self.prog} --help tells more)\n")
