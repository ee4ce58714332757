# SPDX-License-Identifier: ISC
from l3roamd_py.cli import main
from runtime.command import end_with


def run() -> None:
    end_with(main)


if __name__ == "__main__":
    run()
