# SPDX-License-Identifier: ISC
"""Cases of `runtime` and the roaming daemon for both: test_both_pythons.py calls them, MicroPython runs this."""

import l3roamd_core_cases
import l3roamd_leaf_cases
import l3roamd_netfilter_cases
import l3roamd_pairs_cases
import l3roamd_xtables_cases
import record_cases
import runtime_cases
import runtime_server_cases
from cases import cases_of, run

CASES = cases_of(
    record_cases,
    runtime_cases,
    runtime_server_cases,
    l3roamd_leaf_cases,
    l3roamd_core_cases,
    l3roamd_netfilter_cases,
    l3roamd_pairs_cases,
    l3roamd_xtables_cases,
)

if __name__ == "__main__":
    run(CASES)
