# SPDX-License-Identifier: ISC
"""`python -m siit` is the command `siit`."""

import sys

from siit.cli import main

if __name__ == "__main__":
    sys.exit(main())
