# SPDX-License-Identifier: ISC
"""The route to the server outside of the link, on a machine that goes from one network to another."""

import subprocess

import pytest
from reach_lab import needs, network_namespace

from reach.kernel import Kernel, KernelError
from reach.steps import Step

pytestmark = needs()
PIN = Step("pin", "203.0.113.7")


def ip(*words):
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True).stdout


def come_into(number):
    ip("addr", "flush", "dev", "wlan0")
    ip("addr", "add", f"10.{number}.0.7/24", "dev", "wlan0")
    ip("route", "add", "default", "via", f"10.{number}.0.1")


def test_up_in_another_network_pins_the_way_of_that_one(tmp_path):
    with network_namespace(), Kernel(tmp_path) as kernel:
        ip("link", "add", "wlan0", "type", "bridge")
        ip("link", "set", "wlan0", "up")
        come_into(20)
        note = kernel.read(PIN)
        kernel.do(PIN, note)
        assert "203.0.113.7 via 10.20.0.1 dev wlan0" in ip("route")
        come_into(30)
        kernel.do(PIN, note)
        assert "203.0.113.7 via 10.30.0.1 dev wlan0" in ip("route")
        kernel.undo(PIN, note)
        assert "203.0.113.7" not in ip("route")
        ip("addr", "flush", "dev", "wlan0")
        with pytest.raises(KernelError, match="there is no way to 203"):
            kernel.do(PIN, note)
