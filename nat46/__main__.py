# SPDX-License-Identifier: ISC
"""`python -m nat46` is nat46ctl."""

import sys

from nat46.cli import main

sys.exit(main())
