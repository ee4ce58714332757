# SPDX-License-Identifier: ISC
"""`python -m reach` is the command `reach`."""

from runtime.command import end_with


def work() -> int:
    try:
        from reach.cli import main  # which takes a moment, in which people change their minds

        return main()
    except KeyboardInterrupt:
        return 130


def run() -> None:
    end_with(work)


if __name__ == "__main__":
    run()
