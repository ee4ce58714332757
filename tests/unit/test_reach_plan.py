# SPDX-License-Identifier: ISC
"""Plans: what each end of the four set-ups has to have, and that what is rendered is what the real tools take."""

import os
import shutil
import subprocess
from ipaddress import IPv4Address, IPv6Address, ip_interface, ip_network
from pathlib import Path

import pytest

from reach import check, firewall, keys, reader
from reach.plan import Br, DeviceAddress, Gretap, Peer, Pin, Plan, Route, Rule, Tunnel, Wg
from reach.plan_bridge import eui64
from reach.plan_publish import make
from reach.relay import config_text
from reach.render import TARGETS, Place, iptables
from reach.render.commands import pins

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = {
    path.stem: reader.read(path.read_text()) for path in sorted((ROOT / "reach" / "examples").glob("*.toml"))
}
BRIDGED = (ROOT / "reach/examples/bridge.toml").read_text() + 'provider = "bridged"\n'
EXAMPLES["bridged"] = reader.read(BRIDGED)
ENDS = [(name, end) for name, whole in EXAMPLES.items() for end in whole.ends]
UNPACKED = f"{ROOT}/build/unpacked/sbin:{ROOT}/build/unpacked/usr/sbin"  # by sdk/setup.sh
NO_KEYS = Place(keys.Keys({}, {}))


def plan(example, end) -> Plan:
    return make(EXAMPLES[example], end)


def place(whole):
    """Keys for everybody, as if they had been exchanged."""
    private = {end: keys.make() for end in whole.ends}
    return Place(keys.Keys(private, {end: keys.public_of(key) for end, key in private.items()}))


def tool(name):
    found = shutil.which(name) or shutil.which(name, path=UNPACKED)
    if not found:
        pytest.skip(f"no {name} on this machine")
    return found


def run(*words, **options):
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, **options)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout + done.stderr


def network(text):
    return ip_network(text)


def test_4in6_the_ends_mirror_each_other():
    ours, theirs = plan("4in6", "server").devices[0], plan("4in6", "attic").devices[0]
    assert isinstance(ours, Tunnel)
    assert (ours.local, ours.remote) == (theirs.remote, theirs.local)
    assert ours.encap_limit is None


def test_4in6_the_tunnel_address_is_never_the_source_of_other_connections():
    (address,) = plan("4in6", "server").addresses
    assert address == DeviceAddress(
        "eth0", ip_interface("2001:db8:6ef9:1:203:0:113:144/128"), is_deprecated=True
    )


def test_4in6_a_tunnel_from_the_machines_own_address_leaves_that_as_it_is():
    text = (ROOT / "reach/examples/4in6.toml").read_text()
    own = "2001:db8:6ef9:1:e42f:c7ff:fe68:1421"
    whole = reader.read(text.replace('kind = "4in6"', f'kind = "4in6"\nserver_address = "{own}"'))
    assert make(whole, "server").addresses == ()
    assert make(whole, "server").devices[0].local == IPv6Address(own)


def test_4in6_the_whole_address_goes_home_but_ssh():
    text = firewall.nft_text(plan("4in6", "server").firewall)
    caller = "\t\tip daddr 203.0.113.144"  # whoever it is, also over a link
    assert text.index(f"{caller} tcp dport 22 return") < text.index(f"{caller} dnat ip to 192.168.1.210\n")
    assert 'oifname "eth0" ip saddr 192.168.1.210/32 snat ip to 203.0.113.144' in text


def test_4in6_answers_go_back_through_the_tunnel_and_nothing_else_of_the_lan_does():
    home = plan("4in6", "attic")
    assert Route(network("0.0.0.0/0"), "wrap1", 42) in home.routes
    assert home.rules == (
        Rule(4, 4640, 254, suppresses_default=True),
        # of this machine's own, where it has no way to the public address
        Rule(4, 32780, 42, in_device="lo", destination=network("203.0.113.144/32")),
        Rule(4, 4641, 42, source=network("192.168.1.210/32")),
    )


def test_4in6_the_home_lets_in_protocol_4_from_the_other_end_only():
    text = firewall.nft_text(plan("4in6", "attic").firewall)
    ends = "ip6 saddr 2001:db8:6ef9:1:203:0:113:144/128 ip6 daddr 2001:db8:fdd2:2:203:0:113:144"
    assert f'iifname "eth0.2" {ends} meta l4proto 4 accept' in text


def test_ports_to_several_hosts_send_back_answers_by_mark():
    text = (ROOT / "reach/examples/4in6.toml").read_text()
    whole = reader.read(
        text.partition("[[publish]]")[0]
        + '[[publish]]\ntcp = 443\nto = "192.168.1.9"\n[[publish]]\ntcp = 25\nto_port = 2525\nto = "192.168.1.8"\n'
    )
    home, server = make(whole, "attic"), firewall.nft_text(make(whole, "server").firewall)
    assert Rule(4, 4641, 42, mark=42) in home.rules
    assert 'iifname "wrap1" ct mark set 42' in firewall.nft_text(home.firewall)
    assert "ip daddr 203.0.113.144 tcp dport 443 dnat ip to 192.168.1.9\n" in server
    assert "tcp dport 25 dnat ip to 192.168.1.8:2525\n" in server
    assert "ip daddr 192.168.1.8/32 tcp dport 2525 accept" in firewall.nft_text(home.firewall)


def test_the_hub_at_home_is_found_through_the_servers_relay():
    (link,) = plan("relay-wireguard", "phone").devices
    assert isinstance(link, Wg)
    expected = ("198.18.0.0/24", "198.18.1.0/24", "192.168.178.0/24")
    assert link.peers == (Peer("attic", tuple(map(network, expected)), "192.0.2.123:51820", 25),)
    assert plan("relay-wireguard", "phone").pins == (Pin(IPv4Address("192.0.2.123")),)


def test_the_pin_is_to_where_the_link_goes_and_not_always_to_the_servers_ipv4():
    text = (ROOT / "reach/examples/uplink.toml").read_text()
    whole = reader.read(f"{text}\npin = true")
    assert make(whole, "roof").pins == (Pin(IPv6Address("2001:db8:0:1::7")),)
    whole = reader.read(f'{text}\npin = true\nendpoint = "vpn.example.org"')
    assert make(whole, "roof").pins == (Pin(IPv4Address("203.0.113.7")),)


@pytest.mark.parametrize(
    ("says", "way"),
    [
        ("192.0.2.123 via 10.0.0.1 dev eth0 src 10.0.0.2 uid 0", "via 10.0.0.1 dev eth0"),
        ("192.0.2.123 via inet6 fe80::1 dev eth0 src 10.0.0.2 uid 0", "via inet6 fe80::1 dev eth0"),
        ("192.0.2.123 dev eth0 src 10.0.0.2 uid 0", "dev eth0"),
        (
            "2001:db8::7 from :: via fe80::1 dev wlan0 proto ra src 2001:db8::1 metric 0",
            "via fe80::1 dev wlan0",
        ),
    ],
)
def test_a_rendered_pin_goes_by_the_gateway_by_which_the_address_is_reached_now(tmp_path, says, way):
    (tmp_path / "ip").write_text(f'#!/bin/sh\n[ "$1" = -o ] && echo "{says}" || echo "$@"\n')
    (tmp_path / "ip").chmod(0o755)
    (pin,) = pins(plan("relay-wireguard", "laptop"))
    done = run("sh", "-c", pin.up, env={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert done == f"route replace 192.0.2.123 {way}\n"


def test_one_network_is_masqueraded_and_the_other_is_not():
    snats = plan("relay-wireguard", "attic").firewall.snats
    assert [snat.match.source for snat in snats] == [(network("198.18.1.0/24"),)]


@pytest.mark.parametrize("target", ["wg-quick", "openwrt", "debian", "systemd", "entware"])
def test_a_peers_first_address_is_one_that_the_lan_knows_a_way_back_to(target):
    """It is what the kernel, or an app, takes as the source of what goes to the LAN."""
    files = TARGETS[target](plan("relay-wireguard", "laptop"), place(EXAMPLES["relay-wireguard"]))
    text = "".join(file.text for file in files)
    assert 0 < text.index("198.18.1.3/24") < text.index("198.18.0.3/24")


def test_the_relay_listens_on_the_servers_public_address_for_each_protocol():
    assert config_text(plan("relay-wireguard", "server").listeners) == (
        "udp 192.0.2.123 51820-51820 2001:db8:1:2::1 51820 idle=120 limit=256\n"
        "tcp 192.0.2.123 80-80 2001:db8:1:2::80 80 idle=3600 limit=256\n"
        "tcp 192.0.2.123 443-443 2001:db8:1:2::80 443 idle=3600 limit=256\n"
    )


def test_what_the_example_proposes_in_a_comment_tells_the_target_who_calls():
    text = (ROOT / "reach/examples/relay-wireguard.toml").read_text()
    start = text.index("# [[publish]]")
    proposed = "".join(line.removeprefix("# ") for line in text[start:].splitlines(keepends=True))
    whole = reader.read(text[:start].replace("[80, 443]", "80") + proposed)
    assert not [finding for finding in check.check(whole) if finding.is_error]
    lines = config_text(make(whole, "server").listeners).splitlines()
    assert lines[-1] == "tcp 192.0.2.123 443-443 2001:db8:1:2::80 8443 idle=3600 limit=256 proxy=v2"


def test_a_client_sends_all_but_the_links_own_packets_into_the_link():
    client = plan("exit", "macbook")
    assert Rule(6, 4641, 43, mark=1194, is_mark_inverted=True) in client.rules
    assert Route(network("::/0"), "wg0", 43) in client.routes
    assert client.devices[0].mark == 1194


def test_an_exit_masquerades_both_families_and_goes_on_hearing_its_own_router():
    server = plan("exit", "server")
    text = firewall.nft_text(server.firewall)
    assert 'oifname != "wg0" ip saddr 198.18.4.0/24 masquerade' in text
    assert 'oifname != "wg0" ip6 saddr fd86:ea04:1119::/64 masquerade' in text
    assert ("net/ipv6/conf/eth0/accept_ra", "2") in [(each.path, each.value) for each in server.sysctls]


def test_a_bridge_has_a_device_for_each_member_by_its_own_way():
    bridge, *rest = (d for d in plan("bridge", "server").devices if isinstance(d, Br | Gretap))
    assert isinstance(bridge, Br)
    assert [(d.name, str(d.remote), d.gue_ports) for d in rest] == [
        ("taps-2", "172.16.0.2", None),
        ("taps-88", "198.51.100.5", (5555, 5555)),
    ]
    assert {d.bridge for d in rest} == {"taps"}


def test_a_server_whose_device_is_a_port_of_the_bridge_goes_out_by_the_bridge():
    found = plan("bridged", "server")
    (bridge,) = (device for device in found.devices if isinstance(device, Br))
    assert (bridge.uplink, bridge.mac, found.wan) == ("eth0", None, "eth0")
    assert {snat.match.out_device for snat in found.firewall.snats} == {"taps"}
    assert not found.services, "the provider's router announces the prefix"
    assert [type(device) for device in plan("bridged", "office").devices] == [Wg, Gretap]
    assert "eth0 into taps, which gets its MAC, addresses and routes" in str(check.check(EXAMPLES["bridged"]))
    second = BRIDGED[BRIDGED.index("[link.taps]") :].replace("taps", "more")
    assert "eth0 is a port of taps already" in str(check.check(reader.read(BRIDGED + second)))


def test_a_members_mac_is_fixed_and_so_is_its_address():
    (office,) = (d for d in plan("bridge", "office").devices if isinstance(d, Gretap))
    (flat,) = (d for d in plan("bridge", "flat").devices if isinstance(d, Gretap))
    assert office.mac == "12:34:ab:cd:56:ef"
    assert flat.mac == EXAMPLES["bridge"].link("taps").mac("flat")
    assert int(flat.mac[:2], 16) & 3 == 2, "locally administered, one host"
    assert eui64(IPv6Address("2001:db8::"), office.mac) == IPv6Address("2001:db8::1034:abff:fecd:56ef")


@pytest.mark.parametrize(("example", "end"), ENDS)
def test_what_is_planned_is_planned_again_the_same(example, end):
    assert plan(example, end) == plan(example, end)


@pytest.mark.parametrize(("example", "end"), ENDS)
def test_nft_takes_the_table(example, end):
    found = plan(example, end).firewall
    assert found, "every end of the examples has rules"
    text = firewall.ruleset_text(found)
    assert "table inet reach" in text
    run(tool("nft"), "-c", "-f", "-", input=text)


@pytest.mark.parametrize(("example", "end"), ENDS)
@pytest.mark.parametrize("family", [4, 6])
def test_iptables_takes_the_rules(example, end, family):
    program = "iptables-restore" if family == 4 else "ip6tables-restore"
    text = iptables.restore_text(plan(example, end).firewall, family)
    run(tool("unshare"), "-n", tool(program), "--test", "--noflush", input=text)


@pytest.mark.parametrize("end", ["attic", "server"])
def test_iptables_takes_more_ports_than_one_rule_can_have(end):
    text = (ROOT / "reach/examples/4in6.toml").read_text().partition("[[publish]]")[0]
    ports = [*range(1000, 1040, 2), "8000-8009", "9000-9009"]
    found = make(reader.read(f'{text}[[publish]]\ntcp = {ports}\nto = "192.168.1.9"\n'), end).firewall
    rules = iptables.restore_text(found, 4)
    run(tool("unshare"), "-n", tool("iptables-restore"), "--test", "--noflush", input=rules)
    assert all(f"{port}" in rules for port in ("1000", "1038", "8000:8009", "9000:9009"))


def test_a_server_that_only_relays_lets_its_callers_in_on_openwrt():
    files = TARGETS["openwrt"](plan("relay-wireguard", "server"), NO_KEYS)
    text = "".join(file.text for file in files)
    assert "set firewall.reach_accept1.dest_port='80'" in text
    assert "reach_zone" not in text


def test_a_whole_address_leaves_the_server_the_ports_of_its_links_and_its_relay():
    text = (ROOT / "reach/examples/4in6.toml").read_text() + (
        'link = "wrap1"\n[[publish]]\ntcp = "8000-8010"\nto = "2001:db8::9"\n'
        '[link.wg0]\nkind = "wireguard"\npeers = { attic = 2 }\nrouted = "198.18.0.0/24"\n'
    )
    found = make(reader.read(text), "server").firewall
    lines = firewall.nft_text(found)
    for own in ("tcp dport 22", "udp dport 51820", "tcp dport 8000-8010"):
        assert lines.index(f"{own} return") < lines.index("dnat ip to 192.168.1.210\n")
    run(tool("nft"), "-c", "-f", "-", input=lines)
    assert "--dport 8000:8010 -j RETURN" in iptables.restore_text(found, 4)


def test_a_home_without_ipv4_finds_the_server_over_ipv6():
    text = (ROOT / "reach/examples/4in6.toml").read_text() + (
        '[link.wg0]\nkind = "wireguard"\npeers = { attic = 2 }\nrouted = "198.18.0.0/24"\n'
    )
    (link,) = (d for d in make(reader.read(text), "attic").devices if isinstance(d, Wg))
    assert link.peers[0].endpoint == "[2001:db8:6ef9:1:e42f:c7ff:fe68:1421]:51820"


def test_an_uplink_takes_what_comes_out_of_the_translator_and_nothing_of_the_nodes_own():
    node = plan("uplink", "roof")
    (link,) = node.devices
    assert isinstance(link, Wg)
    assert (link.mark, link.peers[0].endpoint) == (0, "[2001:db8:0:1::7]:51820")
    assert link.peers[0].allowed == (network("198.18.4.0/24"), network("0.0.0.0/0"))
    assert node.rules == (Rule(4, 4641, 43, in_device="plat"),)
    assert node.routes == (Route(network("0.0.0.0/0"), "wg0", 43),)
    # forwarding of all devices is the node's business, and the CLAT's
    assert {each.path.rpartition("/")[0] for each in node.sysctls} == {"net/ipv4/conf/wg0"}
    text = firewall.nft_text(node.firewall)
    assert 'iifname "plat" oifname "wg0" accept' in text
    run(tool("nft"), "-c", "-f", "-", input=text)


def test_the_server_of_an_uplink_masquerades_its_platnodes():
    server = plan("uplink", "server")
    assert 'oifname != "wg0" ip saddr 198.18.4.0/24 masquerade' in firewall.nft_text(server.firewall)
    assert server.devices[0].peers[1].allowed == (network("198.18.4.3/32"),)


def test_on_openwrt_an_uplink_is_found_by_the_translators_zone_and_device():
    files = {
        each.path: each.text for each in TARGETS["openwrt"](plan("uplink", "roof"), place(EXAMPLES["uplink"]))
    }
    assert "ip -4 rule add priority 4641 iif plat lookup 43\n" in files["/etc/init.d/reach"]
    script = files["/etc/reach/uci.sh"]
    assert "set firewall.reach_from_plat.src='plat'" in script
    assert "set firewall.reach_zone.input='REJECT'" in script
    assert "reach_rule" not in script
