# SPDX-License-Identifier: ISC
"""Cases that hold on both Pythons: functions whose names start with "case_"; each asserts, and takes nothing."""

import sys


def cases_of(*modules):
    """Return the cases of these modules, each with its name."""
    return [
        (name, getattr(module, name))
        for module in modules
        for name in sorted(dir(module))
        if name[:5] == "case_"
    ]


def run(cases):
    """Run cases on the Python that there is, say how each went, and end with the number of those that failed."""
    failed = 0
    for name, case in cases:
        try:
            case()
            print("ok", name)
        except Exception as error:
            failed += 1
            print("FAILED", name)
            if hasattr(sys, "print_exception"):
                sys.print_exception(error)
    sys.exit(failed)
