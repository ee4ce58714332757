# SPDX-License-Identifier: ISC
"""Waiting for what is to come: with a deadline that only a failure meets, so it may be long."""

import time

from sdk.timeouts import TIMEOUT_SCALE


def wait_until(is_so, what="it", deadline_s=60.0):
    """Ask until the answer is true, and return it; the test fails after the deadline."""
    end = time.monotonic() + deadline_s * TIMEOUT_SCALE
    while not (answer := is_so()):
        assert time.monotonic() < end, f"no {what} within {deadline_s * TIMEOUT_SCALE:g} s"
        time.sleep(0.02)
    return answer
