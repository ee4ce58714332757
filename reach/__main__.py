# SPDX-License-Identifier: ISC
"""`python -m reach` is the command `reach`."""

import sys

from reach.cli import main

if __name__ == "__main__":
    sys.exit(main())
