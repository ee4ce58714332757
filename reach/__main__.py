# SPDX-License-Identifier: ISC
"""`python -m reach` is the command `reach`."""

import sys

if __name__ == "__main__":
    try:
        from reach.cli import main  # which takes a moment, in which people change their minds

        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
