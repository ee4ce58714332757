# SPDX-License-Identifier: ISC
"""python3 -I /usr/lib/464xlat/python MODULE WORDS...: a command of ours, whose modules nobody else finds."""

import runpy
import sys

del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
