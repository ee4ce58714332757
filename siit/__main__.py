# SPDX-License-Identifier: ISC
"""`python -m siit` is the command `siit`."""

from runtime.command import end_with
from siit.cli import main


def run() -> None:
    end_with(main)


if __name__ == "__main__":
    run()
