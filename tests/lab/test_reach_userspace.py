# SPDX-License-Identifier: ISC
"""A wireguard-go that takes its time."""

import os
import shutil
import subprocess

import pytest
from reach_lab import network_namespace

from reach.kernel import Kernel
from reach.steps import Step

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(not shutil.which("wg"), reason="no wireguard-tools"),
]
SLOW = """#!/bin/sh
ip link add "$1" type bridge
(
	sleep 0.5
	ip link set "$1" mtu 1420
	: >"$0.ready"
) >&- 2>&- &
"""
WAITS = """#!/bin/sh
while ! [ -e "${0%wg}wireguard-go.ready" ]; do sleep 0.05; done
"""


def test_the_mtu_is_ours_though_wireguard_go_sets_its_own_after_the_device_is_there(tmp_path, monkeypatch):
    for name, text in (("wireguard-go", SLOW), ("wg", WAITS)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with network_namespace(), Kernel(tmp_path) as kernel:
        kernel.do(Step("wireguard", "wg0", {"mtu": 1300, "userspace": True}), {})
        subprocess.run(["wg"], check=True)
        said = subprocess.run(
            ["ip", "link", "show", "wg0"], capture_output=True, text=True, check=True
        ).stdout
    assert " mtu 1300 " in said
