# SPDX-License-Identifier: ISC
"""Waiting for what is to come: with a deadline that only a failure meets, so it may be long."""

import time

from sdk.timeouts import TIMEOUT_SCALE

PAUSE_LEAST_S, PAUSE_MOST_S = 0.02, 0.5


def wait_until(is_so, what="it", deadline_s=60.0):
    """Ask until the answer is true, and return it; the test fails after the deadline.

    What lasts is asked for less often, as a question may start a program, and other labs run beside this one.
    """
    begun = time.monotonic()
    while not (answer := is_so()):
        waited_s = time.monotonic() - begun
        assert waited_s < deadline_s * TIMEOUT_SCALE, f"no {what} within {deadline_s * TIMEOUT_SCALE:g} s"
        time.sleep(min(max(PAUSE_LEAST_S, waited_s / 20), PAUSE_MOST_S))
    return answer
