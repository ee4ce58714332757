# SPDX-License-Identifier: ISC
"""The daemon's loop: in which order it reads, waits and does what is due."""

from types import SimpleNamespace

from l3roamd_py.core.timers import Silence
from l3roamd_py.daemon import Daemon
from l3roamd_py.inputs import BURST_S, Inputs
from l3roamd_py.kernel.listener import READS_MAX


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


def test_events_of_the_kernel_are_read_one_at_a_time_while_they_are_few():
    """That nothing is behind one would be an error of the socket, which costs as much as an event."""
    at, ready, reads = [10.0], [7], []
    inputs = SimpleNamespace(
        _pending=[],
        _unhandled=[],
        _answering=[],
        _clock=lambda: at[0],
        _polled_s=0.0,
        garbage=SimpleNamespace(ready=lambda poller, wait_ms: ready),
        finder=SimpleNamespace(changed=False, socket=lambda: SimpleNamespace(fileno=lambda: 7)),
    )
    inputs._poller = SimpleNamespace(call=lambda descriptor: descriptor == 7 and reads.append(inputs._packs))
    for after_s in (1.0, BURST_S / 2, BURST_S * 2):
        at[0] += after_s
        Inputs.read(inputs, 60.0)
    assert reads == [1, READS_MAX, 1]
    at[0] += 1.0  # we had no processor, and a deadline has passed: what was told before it comes first
    Inputs.read(inputs, 0.5)
    assert reads[-1] == READS_MAX
    at[0] += 1.0
    Inputs.read(inputs, 60.0)
    ready.append(8)  # what else waits may be about what the kernel told last
    at[0] += 1.0
    Inputs.read(inputs, 60.0)
    assert reads[-2:] == [1, READS_MAX]
