# SPDX-License-Identifier: ISC
"""What we read of netfilter, whatever it says; the rest is in l3roamd_netfilter_cases.py, for both Pythons."""

from hypothesis import given
from hypothesis import strategies as st

from l3roamd_py.netfilter import nfqueue
from runtime.netlink import message, number, split, walk


@given(st.binary(max_size=300))
def test_no_bytes_stop_a_walk(garbage):
    list(walk(garbage))
    list(split(garbage))
    list(split(number([message(0, 0, garbage)])))
    nfqueue.queued_packet(garbage)
