# SPDX-License-Identifier: ISC
"""`python -m nat46` is nat46ctl."""

import signal
import sys

from nat46.cli import main

signal.signal(
    signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM)
)  # what is half made is taken away again
sys.exit(main())
