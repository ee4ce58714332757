# SPDX-License-Identifier: ISC
"""Cases of prefixd's pure modules for both Pythons: test_prefixd.py calls them, MicroPython runs this file.

Each function in them whose name starts with "case_" is one; it asserts, and takes nothing.
"""

import sys

import prefixd_babel_cases
import prefixd_bird_cases
import prefixd_choice_cases
import prefixd_command_cases
import prefixd_probe_cases

MODULES = (
    prefixd_babel_cases,
    prefixd_bird_cases,
    prefixd_choice_cases,
    prefixd_probe_cases,
    prefixd_command_cases,
)
CASES = [
    (name, getattr(module, name)) for module in MODULES for name in sorted(dir(module)) if name[:5] == "case_"
]

if __name__ == "__main__":
    failed = 0
    for name, case in CASES:
        try:
            case()
            print("ok", name)
        except Exception as error:
            failed += 1
            print("FAILED", name)
            if hasattr(sys, "print_exception"):
                sys.print_exception(error)
    sys.exit(failed)
