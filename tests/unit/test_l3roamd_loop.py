# SPDX-License-Identifier: ISC
"""The daemon's loop: in which order it reads, waits and does what is due."""

from types import SimpleNamespace

from l3roamd_py.core.timers import Silence
from l3roamd_py.daemon import Daemon


def test_the_wait_ends_with_a_deadline_that_waiting_packets_bring():
    """No socket tells of them: they came with the answer to another question."""
    core = SimpleNamespace(next_deadline_s=None)
    waits = []

    class Inputs:
        def read_arrived(self):
            core.next_deadline_s = 100.03  # a client was seen: its CLAIM is sent again then

        def read(self, wait_s):
            waits.append(wait_s)
            return 100.0, True

    daemon = SimpleNamespace(
        core=core,
        inputs=Inputs(),
        silence=Silence(),
        _wait_s=lambda: (core.next_deadline_s or 160.0) - 100.0,
        _go_on=lambda polled_s: None,
    )
    Daemon.step(daemon)
    assert 0 < waits[0] < 0.05
