# SPDX-License-Identifier: ISC
"""Roles that are up while /run, which is memory, has no room: they are kept, changed and taken down all the same."""

import re

import pytest
from node_lab import CLAT, EITHER_KIND, NEEDS, PLAT, stand_in_node

pytestmark = NEEDS


def fill(machine):
    machine.run("mount -o remount,size=256k /run")
    machine.run("dd if=/dev/zero of=/run/filler bs=4k", check=False)
    machine.run(["sh", "-c", "! echo more >/run/more && rm -f /run/more"])


def without_filler(text):
    return re.sub(r"^(filler|plat\..*)\n", "", text, flags=re.M)


@pytest.mark.parametrize("firewall", EITHER_KIND)
@pytest.mark.parametrize("shell", ["dash", "busybox ash"])
def test_without_room_in_memory_roles_are_kept_and_taken_down(machines, shell, firewall):
    node = stand_in_node(machines("node"), shell, firewall)
    before = node.snapshot()
    node.xlat(f"plat up {PLAT}")
    node.xlat(f"clat up {CLAT}")
    fill(node.machine)
    flush = (
        ["nft delete table inet xlat464_clat", "nft flush chain inet xlat464_plat input"]
        if firewall == "nft"
        else ["iptables -t mangle -F", "ip6tables -t mangle -F", "ip6tables -t nat -F"]
    )
    for command in flush:
        node.machine.run(command, **node.variables)
    for role, options in (("clat", CLAT), ("plat", PLAT)):
        said = node.xlat(f"{role} up {options}")
        assert "it is, with these settings" in said.stdout
        node.xlat(f"{role} check")
    node.machine.run("ip address add 203.0.113.7/24 dev wan")
    assert "it is, with these settings" in node.xlat(f"plat up {PLAT}").stdout
    node.xlat("plat check")
    for way in ("use", "stop", "use"):
        node.xlat(f"clat-route {way}")
    node.xlat(f"clat up {CLAT} --table 465")
    node.xlat("clat check")
    node.machine.run("ip address del 203.0.113.7/24 dev wan")
    for role in ("clat", "plat"):
        assert node.xlat(f"{role} down").stderr == ""
    assert node.snapshot() == before
