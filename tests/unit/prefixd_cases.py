# SPDX-License-Identifier: ISC
"""Cases of prefixd's pure modules for both Pythons: test_prefixd.py calls them, MicroPython runs this file."""

import prefixd_advert_cases
import prefixd_babel_cases
import prefixd_bird_cases
import prefixd_choice_cases
import prefixd_command_cases
import prefixd_false_exit_cases
import prefixd_probe_cases
from cases import cases_of, run

CASES = cases_of(
    prefixd_babel_cases,
    prefixd_bird_cases,
    prefixd_choice_cases,
    prefixd_probe_cases,
    prefixd_false_exit_cases,
    prefixd_command_cases,
    prefixd_advert_cases,
)

if __name__ == "__main__":
    run(CASES)
