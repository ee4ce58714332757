# SPDX-License-Identifier: ISC
"""The supervisors of the roles: what other programs take away comes back, and what cannot work is not announced."""

import re
import time

import pytest
from package_node import CONFIG, ROOT, is_up, make_node, node, pytestmark

IPTABLES = CONFIG.replace("option firewall 'auto'", "option firewall 'xtables'")
EVENT = "sh /lib/functions/procd-event.sh interface.update"
NFT = "for role in clat plat; do nft -s list table inet xlat464_$role 2>/dev/null; done"
XTABLES = "{ iptables-save; ip6tables-save; } 2>/dev/null | grep XLAT464 | sort"
FEW_S = 60  # two rounds of checks, at a low priority on a machine that others use


def up(node, config=CONFIG, roles=("plat", "clat")):
    node.add_clients()
    node.write(config)
    node.start()
    for role in roles:
        node.wait("464xlat status", f"{role:5} up")


def index(node, device):
    return node(f"ip -o link show {device}").split(":")[0]


@pytest.mark.parametrize(
    ("config", "flush", "rules"),
    [
        (CONFIG, "nft flush ruleset", NFT),  # firewall4's init script at a stop
        (CONFIG, "nft flush table inet xlat464_plat", NFT),
        (CONFIG, "nft flush chain inet xlat464_plat nat66", NFT),
        (IPTABLES, "iptables -t nat -F", XTABLES),
        (IPTABLES, "ip6tables -t nat -F; ip6tables -t nat -X", XTABLES),
        (IPTABLES, "for t in filter nat mangle; do iptables -t $t -F; iptables -t $t -X || :; done", XTABLES),
    ],
)
def test_rules_that_were_flushed_come_back_and_nothing_else_is_made_anew(node, config, flush, rules):
    up(node, config)
    if rules == XTABLES:
        node.wait(rules, "-A XLAT464_hosts ")  # once prefixd has chosen a PLAT
    before, devices = node(rules), (index(node, "plat"), index(node, "clat"))
    node(flush)
    assert node(rules, check=False) != before
    node.wait(f"{rules} | cksum", node(f"cksum <<'END'\n{before}END\n").split()[0], within_s=FEW_S)
    assert (index(node, "plat"), index(node, "clat")) == devices
    node.wait("464xlat status && echo whole", "whole")
    node("/etc/init.d/464xlat stop")
    assert node(rules, check=False) == ""


def test_status_tells_of_a_translator_that_is_gone_and_the_exit_is_withdrawn(node):
    up(node)
    node.wait("/etc/init.d/464xlat status >/run/said; echo $?; cat /run/said", "prefixd: PLAT ")
    page = node.wait(
        "464xlat status --html", "with an address of this node"
    )  # once the roaming daemon answers
    assert "<h2>Exit in use</h2>\n<pre>PLAT " in page
    assert "clat: MTU 1374" in page.split("<h2>Translator</h2>")[1]
    node("/etc/init.d/siit stop")
    said = node.wait("464xlat status; echo status $?", "clat  broken", within_s=FEW_S)
    assert "nothing translates on clat" in said
    assert "status 1" in said
    node.wait("464xlat status", "plat  down", within_s=FEW_S)
    assert "fddd:1338:1338:" not in node("ip -6 route")
    node.wait("/etc/init.d/464xlat status; echo status $?", "plat: 464xlat: plat up: ", within_s=FEW_S)
    node("/etc/init.d/siit start")
    node.wait("464xlat status; echo status $?", "plat  up", within_s=60)
    node.wait("464xlat status && echo whole", "whole", within_s=FEW_S)


def test_status_tells_of_a_translator_that_hangs_and_nothing_waits_for_it(node):
    up(node)
    node("kill -STOP $(cat /run/procd/siit/*/main)")
    said = node("/etc/init.d/464xlat status; echo status $?")
    assert "has not answered for 10 s: it hangs\n" in said
    assert said.endswith("status 1\n"), said
    node("/etc/init.d/464xlat stop")
    assert not {"clat", "plat"} & set(node("ip -o link show | awk -F'[ :@]+' '{ print $2 }'").split())


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("ip rule del pref 465", "no routing rule 465"),
        ("ip -6 route del fddd:1337:1337:1234:5678:9abc::/96 dev clat", "there is no route"),
        ("echo 0 >/proc/sys/net/ipv4/conf/br-client/forwarding", "IPv4 forwarding is off on br-client"),
        ("ip link set clat down", "the device clat is down"),
        ("ip link del clat", "there is no device clat"),
    ],
)
def test_what_is_taken_from_a_clat_is_told_and_set_up_again(node, harm, said):
    up(node)
    assert node("464xlat clat check") == ""
    told = node(f"{harm}; 464xlat clat status; 464xlat clat check", check=False)
    assert "broken" in told
    assert told.count(said) == 2, told
    node.wait("464xlat clat check && echo whole", "whole", within_s=FEW_S)


def test_a_line_that_is_lost_or_back_is_noticed_when_netifd_tells(node):
    # which looks so seldom here that it has to be told
    node("sed 's/^CHECK_S=5$/CHECK_S=500/' /lib/464xlat/supervise.sh >/run/supervise.sh")
    node("chmod 755 /run/supervise.sh && mount --bind /run/supervise.sh /lib/464xlat/supervise.sh")
    assert node("grep -c '^CHECK_S=500$' /lib/464xlat/supervise.sh") == "1\n"
    up(node)
    supervisors = node.file("/run/procd/464xlat/plat/main").read_text()
    for way, state in (("del", "down"), ("add", "up"), ("del", "down"), ("add", "up")):
        node(f"ip route {way} default via 192.0.2.1 dev wan; {EVENT}")
        node.wait("464xlat status", f"plat  {state}")  # for less than 500 s
    assert node.file("/run/procd/464xlat/plat/main").read_text() == supervisors


def test_roles_that_are_up_run_and_roles_that_are_off_do_not(node):
    """`service` shows what has an instance, and all of them running, as running."""
    up(node)
    assert set(node("ls /run/procd/464xlat").split()) == {"clat", "plat", "triggers"}
    node("/etc/init.d/464xlat running")
    node("kill -9 $(cat /run/procd/464xlat/plat/main)")  # and what dies is begun anew
    node.write(CONFIG.replace("option enabled '1'\n\toption pool", "option enabled '0'\n\toption pool"))
    node("/etc/init.d/464xlat reload")
    node.wait("464xlat status", "plat  down")
    node.wait("ls /run/procd/464xlat; echo END", "clat\ntriggers\nEND", within_s=FEW_S)
    node("/etc/init.d/464xlat reload; /etc/init.d/464xlat running")
    assert set(node("ls /run/procd/464xlat").split()) == {"clat", "triggers"}


def test_two_networks_of_one_device_are_one_wan(node):
    up(node, CONFIG.replace("list wan 'wan'", "list wan 'wan'\n\tlist wan 'wan'"))
    time.sleep(6)  # a round: a list that grows would do so now
    assert "out of wan," in node("464xlat status")


def test_a_device_that_netifd_has_set_up_first_keeps_no_link_local_address(node):
    node.add_clients()
    node(
        "for d in all default; do echo 0 >/proc/sys/net/ipv6/conf/$d/disable_ipv6; done;"
        # sets each new device up at once, as netifd does
        "(until ip link set clat up 2>/dev/null; do :; done) </dev/null >/dev/null 2>&1 &"
    )
    node.start()
    node.wait("464xlat status", "clat  up")
    node.wait("464xlat status", "plat  up")
    assert "fe80" not in node("ip -6 addr show dev clat; ip -6 addr show dev plat")


def rounds_forks(node, seconds):
    last = "cat /proc/sys/kernel/ns_last_pid"
    return -int(node(f"{last}")) + int(node(f"sleep {seconds}; {last}"))


def test_waiting_costs_few_processes(node):
    """A mesh-only node waits for ever, for a line that never comes."""
    node("ip -4 route del default")
    node.write(
        CONFIG.replace("config clat 'clat'\n\toption enabled '1'", "config clat 'clat'\n\toption enabled '0'")
    )
    idle = rounds_forks(node, 10)
    node("/etc/init.d/464xlat start")
    node.wait("cat /run/464xlat/plat.problem", "no IPv4 default route")
    assert (rounds_forks(node, 10) - idle) / 2 <= 6
    assert node("cat /run/procd.log").count("no IPv4 default route") == 1


def test_the_cost_of_keeping_a_role_is_small(node):
    node("/etc/init.d/siit start")
    idle = rounds_forks(node, 10)
    node.add_clients()
    node("/etc/init.d/464xlat start")
    for role in ("plat", "clat"):
        node.wait("464xlat status", f"{role:5} up")
    node("/etc/init.d/prefixd stop; /etc/init.d/l3roamd-py stop")
    time.sleep(6)
    assert (rounds_forks(node, 10) - idle) / 2 <= 12  # of two roles, in a round


MAC = re.compile(r"option mac '([0-9a-f:]{17})'")


@pytest.mark.parametrize("label", [None, "02:11:22:33:44:55"])
def test_a_nodes_prefix_is_taken_once_and_kept(node, label):
    """A device that sorts first, a container's bridge, a network card that is gone: none of them moves it."""
    node("umount /sys 2>/dev/null; mount -t sysfs sysfs /sys")
    if label:
        node.file("/etc/board.json").write_text(f'{{"system": {{"label_macaddr": "{label}"}}}}')
    shipped = (ROOT / "files/464xlat/etc/config/464xlat").read_text()
    template = next(line for line in shipped.splitlines() if "#option mac" in line)
    up(node, CONFIG.replace("\toption mac '12:34:56:78:9a:bc'", template))
    config = node("cat /etc/config/464xlat")
    [mac] = MAC.findall(config)
    assert mac == (label or node("cat /sys/class/net/br-client/address").strip())
    assert config == CONFIG.replace("12:34:56:78:9a:bc", mac)  # and nothing else of the file has changed
    prefixes = node("464xlat status | grep -o 'fddd:[0-9a-f:]*/96'")
    node(
        "/etc/init.d/464xlat stop; rm -f /run/464xlat/mac; ip link add aaa0 type veth peer name docker0;"
        "ip link set br-client name br-old; ip link add br-client address 02:00:00:00:00:99 type bridge;"
        "ip link set br-client up; /etc/init.d/464xlat start"
    )
    node.wait("464xlat status", "clat  up")
    node.wait("464xlat status", "plat  up")
    assert node("464xlat status | grep -o 'fddd:[0-9a-f:]*/96'") == prefixes


def test_a_mac_is_kept_in_a_file_that_uci_has_written_too(node):
    node("umount /sys 2>/dev/null; mount -t sysfs sysfs /sys")
    node.add_clients()
    node.write(CONFIG.replace("\toption mac '12:34:56:78:9a:bc'\n", ""))
    node("uci set 464xlat.clat.table=465")  # somebody's, who has not committed it
    node.start()
    node.wait("464xlat status", "clat  up")
    assert node("uci -t /none get 464xlat.node.mac") == node("cat /sys/class/net/br-client/address")
    assert node("uci -t /none get 464xlat.clat.table") == "464\n"
    assert is_up(node("464xlat status", check=False), "clat")


def test_a_mac_stays_that_cannot_be_written(node):
    node("umount /sys 2>/dev/null; mount -t sysfs sysfs /sys")
    node.add_clients()
    node.write(CONFIG.replace("\toption mac '12:34:56:78:9a:bc'\n", ""))
    node("mount -o remount,ro /etc")
    for service in ("siit", "464xlat"):
        node(f"/etc/init.d/{service} start")
    said = node.wait("464xlat status", "clat  up")
    node("ip link add aaa0 type veth peer name docker0; /etc/init.d/464xlat restart")
    assert (
        node.wait("464xlat status", "clat  up").split("fddd:1337")[1][:40] == said.split("fddd:1337")[1][:40]
    )


def test_what_is_as_it_should_be_is_no_error_of_a_daemons(node):
    """procd logs what a service says on stdout as information, and on stderr as errors."""
    daemon = "siit daemon --socket /run/other.sock --state /run/other.rules"
    node(f"{daemon} </dev/null >/run/told 2>/run/wrong &")
    node.wait("cat /run/told", "siit: ready at /run/other.sock")
    assert node("cat /run/wrong") == ""
    assert "other" in node(f"{daemon} 2>&1 >/dev/null", check=False)  # where another one runs
