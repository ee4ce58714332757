# SPDX-License-Identifier: ISC
"""What every command of ours says of a wrong command line: one sentence, and exit code 2."""

import argparse
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """One that says what is wrong in one line; its subcommands do so, too."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {' '.join(message.split())} ({self.prog} --help tells more)\n")
