# SPDX-License-Identifier: ISC
"""The wires of `make test-openwrt`: machines that boot side by side are plugged into the same segments."""

from sdk.lab.machine import Machines
from sdk.lab.side_by_side import side_by_side
from sdk.router import wires

NODES = ("a", "b", "c", "d", "e", "f")
SEGMENTS = ("seg0", "seg1", "seg2")


def test_machines_that_boot_side_by_side_share_the_segments(lab_name):
    plugs = {
        node: [
            wires.Plug(node, f"eth{index}", f"02:00:00:00:0{number}:0{index}", segment)
            for index, segment in enumerate(SEGMENTS)
        ]
        for number, node in enumerate(NODES)
    }
    machines = Machines.start(lab_name(), persistent=False)
    try:
        wires.set_up(machines, set(SEGMENTS))
        for node in NODES:
            machines.boot(node)
        side_by_side(lambda node: wires.lay(machines, plugs[node]), NODES)
        for segment in SEGMENTS:
            ports = machines.exec(wires.SWITCH, ["ip", "-br", "link", "show", "master", segment]).stdout
            assert len(ports.splitlines()) == len(NODES)
    finally:
        machines.end()
