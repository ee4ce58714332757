# SPDX-License-Identifier: ISC
"""How long a lease lasts, from dnsmasq through OpenWrt's hotplug, which passes none of dnsmasq's variables on."""

import time

import pytest
from package_node import make_node, node, pytestmark

MAC, IPV4 = "02:00:00:00:00:01", "10.46.1.2"
TOLD = """\
#!/bin/sh
echo "$* ${DNSMASQ_TIME_REMAINING:-no time}" >>/run/told
"""
OTHERS = f"1 {MAC} 10.46.1.23 * *\n1 02:00:00:00:00:02 {IPV4} * *\nduid 00:01\n"
FOREVER = "no time"


@pytest.fixture
def told(node):
    """told(event, lines, path) -> what the daemon is told of an event when dnsmasq's file of leases has these lines."""
    node.file("/run/l3roamd_py").write_text(TOLD)
    node("chmod +x /run/l3roamd_py; mount --bind /run/l3roamd_py /usr/sbin/l3roamd_py")

    def ask(event, lines, path="/tmp/dhcp.leases"):
        node.file(path).write_text(lines)
        node(
            f"rm -f /run/told; DNSMASQ_TIME_REMAINING=77 sh /usr/lib/dnsmasq/dhcp-script.sh {event} {MAC} {IPV4} phone"
        )
        return node("cat /run/told 2>/dev/null", check=False).strip()

    return ask


def within(said, seconds):
    *_, left = said.split()
    return seconds - 30 <= int(left) <= seconds + 1


@pytest.mark.parametrize(("event", "action"), [("add", "add"), ("old", "old")])
def test_a_lease_of_twelve_hours_is_told_as_one(told, event, action):
    said = told(event, f"{OTHERS}{time.time() + 43200:.0f} {MAC} {IPV4} phone 01:{MAC}\n")
    assert said.startswith(f"lease {action} {MAC} {IPV4} ")
    assert within(said, 43200)


def test_leases_without_an_end_lengths_and_ends_are_told_as_what_they_are(told, node):
    assert told("add", f"0 {MAC} {IPV4} * *\n").endswith(FOREVER)
    assert told("add", f"3600 {MAC} {IPV4} * *\n").endswith(" 3600")  # a dnsmasq for routers without a clock
    assert told("add", f"{time.time() - 60:.0f} {MAC} {IPV4} * *\n") == ""  # it is over
    assert told("del", "") == f"lease del {MAC} {IPV4} {FOREVER}"
    node.file("/etc/config/dhcp").write_text("config dnsmasq\n\toption leasefile '/run/leases'\n")
    assert told("add", f"1800 {MAC} {IPV4} * *\n", "/run/leases").endswith(" 1800")


def test_a_lease_that_dnsmasq_is_only_writing_is_waited_for(told, node):
    written = f"echo '3600 {MAC} {IPV4} * *' >/tmp/dhcp.leases"
    node(f"(sleep 1.5; {written}) </dev/null >/dev/null 2>&1 &")
    assert told("add", f"3600 {MAC} {IPV4}").endswith(" 3600")  # half of a line
    assert told("add", "").endswith(FOREVER)  # and without it, it is better to tell than not
