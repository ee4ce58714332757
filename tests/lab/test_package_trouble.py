# SPDX-License-Identifier: ISC
"""The packages' services on a node in trouble: no room to write, half of a configuration. Nothing stays half-done."""

import time

import pytest
from package_node import CONFIG, is_up, make_node, node, pytestmark
from waiting import wait_until

ADDRESSES = "ip -o -4 addr; ip -o -6 addr show scope global"
KERNEL = f"{ADDRESSES}; ip -6 route | grep -v fe80; ip rule; nft list tables | grep 464"


def test_a_full_overlay_keeps_no_role_from_coming_up(node):
    """The services write to /var, which is memory: the flash may be full, or broken and read-only."""
    node.add_clients()
    node("for s in siit 464xlat prefixd l3roamd-py; do /etc/init.d/$s enable; done; mount -o remount,ro /etc")
    assert "ead-only" in node("touch /etc/config/new", check=False)
    node("for s in /etc/rc.d/S*; do $s boot; done")
    node.wait("464xlat status", "plat  up")
    node.wait("464xlat status", "clat  up")
    node.wait("prefixd --status --json", '"chosen"')


def test_without_room_in_memory_nothing_is_half_made_and_it_goes_on_when_there_is(node):
    node.add_clients()
    node("/etc/init.d/siit boot")
    node.wait("siit show", "")
    before = node(KERNEL, check=False)
    # the supervisors' notes have a place, the ledger none
    node(
        "mkdir -p /run/464xlat; mount -t tmpfs -o size=4k tmpfs /run/464xlat; cat /dev/zero >/run/464xlat/full",
        False,
    )
    node("/etc/init.d/464xlat boot")
    time.sleep(3)
    said = node("464xlat status")
    assert not is_up(said, "clat")
    assert not is_up(said, "plat")
    assert node(KERNEL, check=False) == before
    node("umount -l /run/464xlat; /etc/init.d/464xlat restart")
    node.wait("464xlat status", "plat  up")
    node.wait("464xlat status", "clat  up")


@pytest.mark.parametrize("part", [0.3, 0.55, 0.8])
def test_half_of_a_configuration_makes_whole_roles_or_none(node, part):
    node.add_clients()
    node.write(CONFIG[: int(len(CONFIG) * part)])
    node("/etc/init.d/siit boot; /etc/init.d/464xlat boot", check=False)
    time.sleep(1)  # the supervisors try, and wait for what is missing
    wait_until(lambda: "unfinished" not in node("464xlat status"), "role that is finished")
    assert "broken" not in node("464xlat status")
    node.write(CONFIG)
    node("/etc/init.d/464xlat reload")
    node.wait("464xlat status", "plat  up")
    node.wait("464xlat status", "clat  up")
    assert "fddd:1337:1337:1234:5678:9abc::/96" in node("464xlat clat status")


@pytest.mark.parametrize("config", [CONFIG + "config x '", None], ids=["half a line", "gone"])
def test_a_configuration_that_uci_cannot_read_takes_no_role_down(node, config):
    node.add_clients()
    node.start()
    node.wait("464xlat status", "plat  up")
    node.wait("464xlat status", "clat  up")
    for last in ("xlat464_hosts", "proto 158"):  # what prefixd and the roaming daemon add
        node.wait(KERNEL, last)
    before = node(KERNEL)
    node.write(config) if config else node("rm /etc/config/464xlat")
    node("/etc/init.d/464xlat reload", check=False)
    said = node("/etc/init.d/464xlat status", check=False)
    assert "UCI cannot read /etc/config/464xlat" in said
    assert is_up(said, "clat")
    assert is_up(said, "plat")
    assert node(KERNEL) == before


def test_a_node_without_an_ipv4_line_is_no_platnode_until_it_has_one(node):
    """Gluon's images are for every node, and most have nothing at their WAN: they must draw no clients of others."""
    node.add_clients()
    node("ip -4 route del default")
    node.start()
    said = node.wait("/etc/init.d/464xlat status", "plat up: ")
    assert "no IPv4 default route leads out of wan" in said
    node.wait("464xlat status", "clat  up")
    assert "plat  down" in node("464xlat status")
    node("ip -4 route add default via 192.0.2.1 dev wan table 7")  # a table of its own is as good
    # and no word of a configuration is a pattern for names of files
    node.write(CONFIG.replace("option pool", "option ports '*'\n\toption pool"))
    node("/etc/init.d/464xlat reload")
    node.wait("/etc/init.d/464xlat status", "--ports: '*' is no range")
    node.write(CONFIG)
    node("/etc/init.d/464xlat reload")
    node.wait("464xlat status", "plat  up")
    node.wait("cat /run/procd/prefixd/instance1/command", "--own-plat")
    # what netifd tells of a line that is lost
    node("ip -4 route flush table 7; /etc/init.d/464xlat reload")
    node.wait("464xlat status", "plat  down")
    node.wait_for_no_own_plat()
    assert "fddd:1338:1338:" not in node("ip -6 route")
