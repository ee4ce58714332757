# SPDX-License-Identifier: ISC
"""Cases of `runtime` and the roaming daemon for both Pythons: test_both_pythons.py calls them, MicroPython runs this.

Each function in them whose name starts with "case_" is one; it asserts, and takes nothing.
"""

import sys

import l3roamd_core_cases
import l3roamd_leaf_cases
import record_cases
import runtime_cases

MODULES = (record_cases, runtime_cases, l3roamd_leaf_cases, l3roamd_core_cases)
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
