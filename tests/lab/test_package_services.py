# SPDX-License-Identifier: ISC
"""The packages' services come up, take their settings, and go, on a node of package_node.py."""

import json
import re
import time

import pytest
from package_node import (
    CONFIG,
    OPENWRT,
    RESPONDD,
    TOOLS,
    OpenWrt,
    SiteNode,
    SlowNode,
    is_up,
    make_node,
    node,
    pytestmark,
)
from waiting import wait_until


@pytest.mark.parametrize("shell", ["", "/usr/bin/busybox"], ids=["dash", "busybox"])
def test_a_node_comes_up_from_its_packages_alone(make_node, shell):
    node = make_node(shell)
    node.add_clients()
    node.start()
    node.wait("464xlat status", "plat  up")
    assert is_up(node.wait("464xlat status", "clat  up"), "plat")
    node.wait("cat /run/procd/prefixd/instance1/command", "--own-plat")
    node.wait("prefixd --status --json", '"chosen"')
    line = node.command_line("prefixd")
    assert line[0] == "/usr/sbin/prefixd"
    assert "--own-plat" in line
    assert line[line.index("--source") + 1] == "fddd:1337:1337:1234:5678:9abc:c000:1"
    assert json.loads(node.wait("l3roamd_py status --json", "{"))
    # the node's own PLAT is the only one there is
    node.wait("ip -4 route show table 464", "default dev clat")
    node("/lib/gluon/state/check.d/has_plat")
    told = json.loads(node(f"python3 -c '{RESPONDD}'"))["xlat464"]
    assert (told["plat"], told["metric"]) == ("fddd:1338:1338:1234:5678:9abc::/96", 0)
    assert (told["plats"], told["is_clat"], told["is_plat"]) == (1, True, True)
    assert "roaming" in told
    before = told["drops"]
    assert set(before) == {"clat", "plat"}
    assert not {key for key in before["clat"] if key.startswith(("in", "out", "translated"))}, before
    node("ping -c 3 -i 0.01 -W 1 -I clat 224.5.5.5", check=False)  # multicast is not translated
    # of this counter alone: the kernel's own MLD reports, from ::, are illegal sources and come when they like
    wanted = before["clat"].get("illegal-destination", 0) + 3

    def are_counted():  # siit takes its time to read them
        drops = json.loads(node(f"python3 -c '{RESPONDD}'"))["xlat464"]["drops"]
        return drops["clat"].get("illegal-destination", 0) >= wanted and drops

    assert "illegal-destination" not in wait_until(are_counted, "three datagrams that are counted")["plat"]
    node(
        "ip link add port type veth peer phone && ip link set port master br-client up && ip link set phone up"
    )
    # a lease is for whose frames the bridge has seen
    node("bridge fdb add 02:00:00:00:00:01 dev port master dynamic")
    # dnsmasq's file is elsewhere. Nobody answers to this MAC, so that the daemon soon forgets it: ask at once
    granted = "sh /usr/lib/dnsmasq/dhcp-script.sh add 02:00:00:00:00:01 10.46.1.2 phone"
    node.wait(f"{granted}; l3roamd_py status --json", "10.46.1.2")


def test_a_site_conf_makes_a_node(make_node):
    node = make_node(kind=SiteNode)
    node(
        "ip link add local-node type bridge; ip addr add 10.46.0.1/16 dev local-node; ip link set local-node up"
    )
    node.start()
    node.wait("464xlat status", "plat  up")
    status = node.wait("464xlat status", "clat  up")
    assert "clients 10.46.0.0/16 on local-node" in status
    assert "pool 198.18.0.0/28" in status
    node.wait("cat /run/procd/prefixd/instance1/command", "--own-plat")
    line = node.command_line("prefixd")
    assert line[line.index("--margin") + 1] == "96"
    assert line[line.index("--probe-ipv4") + 1] == "9.9.9.9,1.1.1.1"
    node.wait("cat /run/procd/l3roamd-py/instance1/command", "fd00:1234:5678:9abc::/64")
    node.wait("464xlat status", "clat  up")


def test_a_reload_changes_what_changed_and_nothing_else(node):
    node.add_clients()
    node.start()
    node.wait("464xlat status", "plat  up")
    node.wait("464xlat status", "clat  up")
    node.wait("cat /run/procd/prefixd/instance1/command", "--own-plat")
    node.wait("prefixd --status --json", '"chosen"')
    clat, prefixd = node("ip -o link show clat"), node.file("/run/procd/prefixd/instance1/pid").read_text()
    node("/etc/init.d/464xlat reload")
    node("/etc/init.d/prefixd reload")
    assert node.file("/run/procd/prefixd/instance1/pid").read_text() == prefixd
    node.write(CONFIG.replace("option enabled '1'\n\toption pool", "option enabled '0'\n\toption pool"))
    node("/etc/init.d/464xlat reload")
    node.wait("464xlat status", "plat  down")
    node.wait_for_no_own_plat()
    assert node("ip -o link show clat").split(":")[0] == clat.split(":")[0]


HOSTS = """
config hosts 'hosts'
	option announce 'on'
	option v6only_wait_s '300'
	list dns '2001:db8::53'
	list dns 'node'
"""


def test_hosts_are_told_what_the_configuration_says(node):
    node("mkdir -p /run/464xlat")
    # as after `464xlat clat up`
    node.file("/run/464xlat/clat.settings").write_text(
        "clat_range=fddd:1337:1337::/48 plat_range=fddd:1338:1338::/48 prefix=fddd:1337:1337:1234:5678:9abc::/96 "
        "client_device=br-client mesh_mtu=1374 device=clat target=/run/siit/control.sock pref64=fddd:1338:1338::/96\n"
    )
    node("/etc/init.d/prefixd start")
    assert "--pref64" not in node.command_line("prefixd")
    node.write(CONFIG + HOSTS)
    node("/etc/init.d/prefixd reload")
    words = node.command_line("prefixd")
    assert words[words.index("--pref64") :][:12] == [
        *("--pref64", "fddd:1338:1338::/96", "--client-device", "br-client", "--link-mtu", "1374"),
        *("--announce", "on", "--hosts-hook", "/lib/464xlat/tell-hosts br-client 300"),
        *("--dns6", "2001:db8::53,node"),
    ]
    node.wait("prefixd --status --json", '"told": null')
    node("mkdir -p /tmp/hosts; echo tag:br-client,108,00:00:01:2c >/tmp/hosts/.464xlat-options")
    node.write(CONFIG)
    node("/etc/init.d/prefixd reload")
    assert "--pref64" not in node.command_line("prefixd")
    assert node("cat /tmp/hosts/.464xlat-options").strip() == "", "nobody looks after it any more"


def test_siit_takes_its_options_from_the_configuration_and_lives_with_wrong_ones(node):
    section = "\nconfig siit 'siit'\n\toption lowest_ipv6_mtu '{}'\n\toption udp_zero_checksum '{}'\n"
    section += "\toption fast '{}'\n"
    for mtu, policy, fast, said in (
        (
            "1400",
            "drop",
            "auto",
            ["--lowest-ipv6-mtu", "1400", "--udp-zero-checksum", "drop", "--fast", "auto"],
        ),
        ("1279", "compute", "on", ["--udp-zero-checksum", "compute", "--fast", "on"]),
        ("many", "guess", "yes", []),
    ):
        node.write(CONFIG + section.format(mtu, policy, fast))
        node("/etc/init.d/siit reload")
        assert node.command_line("siit")[4:] == said
        node.wait("siit show >/dev/null && echo answers", "answers")


def test_a_limit_is_carried_out_while_the_exit_stays_up(node):
    node.start()
    node.wait("464xlat status", "out of wan, no limit")
    device = node("ip -o link show plat").split(":")[0]
    for options, said in (
        ("limit_up_kbit '5000'\n\toption limit_down_kbit '20000'", "limit 5000 kbit/s up, 20000 down"),
        ("limit_up_kbit '0'\n\toption limit_down_kbit '8000'", "limit 8000 kbit/s down"),
    ):
        node.write(CONFIG.replace("option pool", f"option {options}\n\toption pool"))
        node("/etc/init.d/464xlat reload")
        node.wait("464xlat status", said)
    node.write(CONFIG.replace("option pool", "option limit_up_kbit '5 Mbit'\n\toption pool"))
    node("/etc/init.d/464xlat reload")
    node.wait("/etc/init.d/464xlat status", "'Mbit' is no option")
    assert is_up(node("464xlat status"), "plat")
    assert "limit 8000 kbit/s down" in node("464xlat status")
    assert node("ip -o link show plat").split(":")[0] == device


def test_a_role_that_is_switched_off_while_it_comes_up_stays_down(make_node):
    node = make_node(kind=SlowNode)
    node.add_clients()
    node.start()
    node.wait("464xlat status", "plat  up")
    node("/etc/init.d/464xlat stop; XLAT464=slow-xlat464 /etc/init.d/464xlat start")
    node.write(CONFIG.replace("option enabled '1'\n\toption pool", "option enabled '0'\n\toption pool"))
    node("/etc/init.d/464xlat reload")
    node.wait("464xlat status", "plat  down")
    node.wait("pgrep -f '[k]eep.sh plat' || echo ended", "ended")
    assert "plat  down" in node("464xlat status", check=False)
    node.wait_for_no_own_plat()


def test_what_is_missing_is_told_and_waited_for(node):
    node.start()
    said = node.wait("/etc/init.d/464xlat status", "clat up: ")
    assert "br-client" in said
    assert "prefixd: not running" in said
    node.add_clients()
    node.wait("464xlat status", "clat  up")
    # babeld is missing still
    said = node.wait("/etc/init.d/464xlat status", "prefixd: babeld")
    assert "clat up: " not in said
    assert "no babeld" in said or "no such file" in said, said
    # and now what only a site can say
    node.wait("/etc/init.d/464xlat status", "l3roamd-py: running")
    node.write(CONFIG.replace("option node_client_prefix", "#"))
    assert "node_client_prefix" in node("/etc/init.d/l3roamd-py reload")
    said = node.wait("/etc/init.d/464xlat status", "l3roamd-py: not running")
    assert "roaming.node_client_prefix in /etc/config/464xlat is not set" in said


@pytest.mark.parametrize(
    "config", ["", "config\n", CONFIG.replace("fddd:1337:1337::/48", "$(touch /run/owned)"), CONFIG[:150]]
)
def test_a_spoiled_configuration_leaves_the_node_as_it_is(node, config):
    node.add_clients()
    node.write(config)
    kernel = "ip -o -4 addr; ip -o -6 addr show scope global; ip -6 route | grep -v fe80; ip rule"
    before = node(kernel)
    node.start(check=False)
    node("/etc/init.d/464xlat status", check=False)
    time.sleep(1)
    assert node(kernel) == before
    assert not node.file("/run/owned").exists()


def test_a_babeld_of_openwrts_gets_a_drop_in_once(node):
    node.add_clients()
    node.file("/etc/config/babeld").write_text("config general\n\toption conf_dir '/run/babeld.d'\n")
    script = node.file("/etc/init.d/babeld")
    script.write_text("#!/bin/sh\ncase $1 in enabled | running) ;; *) echo $1 >>/run/babeld.calls ;; esac\n")
    script.chmod(0o755)
    node("/etc/init.d/l3roamd-py enable")
    for service in ("siit", "464xlat"):
        node(f"/etc/init.d/{service} boot")
    node.wait("cat /run/babeld.d/464xlat.conf", "fddd:1338:1338::/48 eq 96 allow")
    assert node("cat /run/babeld.d/464xlat.conf").splitlines() == [
        "local-port 33123",
        "redistribute local ip fd00:1234:5678:9abc::/64 eq 128 allow",
        "redistribute ip fddd:1337:1337::/48 eq 96 allow",
        "redistribute ip fddd:1338:1338::/48 eq 96 allow",
        "redistribute ip fd46:4646:4646::/64 eq 128 proto 159 metric 50000",
        "redistribute ip fd46:4646:4646::/64 eq 128 proto 158 allow",
        "redistribute local if clat deny",
        "redistribute local if plat deny",
        "redistribute local if wan deny",
        "redistribute local ip 10.46.0.0/16 deny",
    ]
    node.wait("464xlat status", "plat  up")
    node.wait("464xlat status", "clat  up")
    node("/etc/init.d/464xlat reload")
    node.wait("cat /run/babeld.calls", "reload")
    assert node("sort -u /run/babeld.calls") == "reload\n"
    # only the roaming daemon makes such addresses
    node("/etc/init.d/l3roamd-py disable; /etc/init.d/464xlat reload")
    node.wait("cat /run/babeld.d/464xlat.conf | grep -c redistribute", "6")
    node.wait("pgrep -f '[r]ole.d' >/dev/null || echo idle", "idle")
    # the lines stay while the line is away, and so does babeld
    node("rm /run/babeld.calls; /etc/init.d/464xlat enable; ip -4 route del default dev wan")
    node.wait("464xlat status", "plat  down")
    node("/etc/init.d/464xlat stop; grep 'if wan deny' /run/babeld.d/464xlat.conf")
    assert not node.file("/run/babeld.calls").exists()
    # what a removal does
    node("/etc/init.d/464xlat disable; for i in 1 2; do /etc/init.d/464xlat stop; done")
    assert node("ls /run/babeld.d; cat /run/babeld.calls") == "reload\n"


def test_stopping_leaves_nothing(node):
    node.add_clients()
    # of tables ours: iptables leaves some of its own
    kernel = "ip -o link | cut -d: -f2; ip rule; ip -6 route | grep -v fe80; nft list tables | grep -E '464|l3r'; true"
    before = node(kernel)
    node.start()
    node.wait("464xlat status", "plat  up")
    node.wait("464xlat status", "clat  up")
    node.wait("cat /run/procd/l3roamd-py/instance1/command", "--plat\n")
    node.wait("l3roamd_py status", "lients")
    node("/etc/init.d/l3roamd-py disable; /etc/init.d/l3roamd-py stop")  # as a removal does
    for service in ("464xlat", "siit"):  # prefixd and the roaming daemon end with the roles
        node(f"/etc/init.d/{service} stop")
    left = node(kernel)
    assert set(left.splitlines()) <= set(before.splitlines()), left
    assert "inactive" in node("/etc/init.d/prefixd status", check=False)


@pytest.mark.skipif(
    not OPENWRT or not TOOLS, reason="no OpenWrt: say OPENWRT_TREE=/path OPENWRT_TOOLS=/prefix"
)
def test_openwrts_own_scripts_take_the_init_scripts(make_node):
    node = make_node("/usr/bin/busybox", OpenWrt)
    node.add_clients()
    node("mkdir -p /run/lock /run/464xlat /etc/rc.d")
    # as after `464xlat clat up`
    node.file("/run/464xlat/mac").write_text("12:34:56:78:9a:bc\n")
    node.file("/run/464xlat/clat.settings").write_text(
        "clat_range=fddd:1337:1337::/48 plat_range=fddd:1338:1338::/48 prefix=fddd:1337:1337:1234:5678:9abc::/96 "
        "client_range=10.46.0.0/16 device=clat target=/var/run/siit/control.sock firewall=nft\n"
    )
    for service in ("siit", "464xlat", "prefixd", "l3roamd-py"):
        said = node(
            f"/etc/init.d/{service} enable; /etc/init.d/{service} enabled && /etc/init.d/{service} start"
        )
        assert not re.search("not found|syntax|bad ", said), said
    told = {call["name"]: call for call in node.calls()}
    commands = {name: [i["command"] for i in call["instances"].values()] for name, call in told.items()}
    assert commands["464xlat"] == [
        ["/lib/464xlat/supervise.sh", "clat", "up"],
        ["/lib/464xlat/supervise.sh", "plat", "up"],
    ]
    # a supervisor that waits looks again at once when the file has changed
    assert [i["file"] for i in told["464xlat"]["instances"].values()] == [["/etc/config/464xlat"]] * 2
    assert commands["siit"] == [["/usr/sbin/siit", "daemon", "--state", "/var/run/siit/rules"]]
    [prefixd] = commands["prefixd"]
    assert prefixd[prefixd.index("--hook") + 1] == "464xlat clat-route"
    assert prefixd[prefixd.index("--source") + 1] == "fddd:1337:1337:1234:5678:9abc:c000:1"
    [roaming] = commands["l3roamd-py"]
    assert "--clat" in roaming
    assert "--plat" not in roaming
    for name in ("464xlat", "prefixd", "l3roamd-py"):
        assert f"/etc/init.d/{name}" in json.dumps(told[name]["triggers"])
    # what procd would run, with OpenWrt's functions.sh and uci
    node.file("/run/464xlat/clat.settings").unlink()
    node("siit daemon --state /run/siit/rules </dev/null >/dev/null 2>&1 9>&- &")
    for role in ("clat", "plat"):
        node(
            f"/lib/464xlat/supervise.sh {role} up </dev/null >/run/{role}.log 2>&1 9>&- & echo $! >/run/{role}.pid"
        )
        node.wait("/etc/init.d/464xlat status; cat /run/*.log", f"{role:5} up", within_s=60)
    assert [call["name"] for call in node.calls()][-1] == "prefixd"
    node("kill $(cat /run/clat.pid /run/plat.pid); /etc/init.d/464xlat stop")
    assert "clat  down" in node("464xlat status")
