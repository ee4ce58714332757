# SPDX-License-Identifier: ISC
"""reach.toml: what is right is read, and every mistake is said with its key and what would be right."""
# ruff: noqa: E501  a table of sentences, one a line

import base64
import os
import re
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from reach import check, keys, reader
from reach.cli import main
from reach.description import DescriptionError
from reach.plan_publish import make
from reach.reading import Table

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "reach" / "examples").glob("*.toml"))
FOUR_IN_SIX = """
[server]
device = "eth0"
ipv4 = "231.201.224.144"
ipv6 = "54a0:6231:d015:6ef9:e42f:c7ff:fe68:1421/64"
[home.attic]
device = "eth0.2"
ipv6 = "2e5b:9a11:b0a8:fdd2::1/64"
lan = "192.168.1.0/24"
[link.wrap1]
kind = "4in6"
home = "attic"
"""
BASE = """
[server]
device = "eth0"
ipv4 = "203.0.113.7"
ipv6 = "2001:db8:1::1/64"
[home.attic]
device = "wan"
ipv6 = "2001:db8:2::1/64"
lan = "192.168.1.0/24"
[client.laptop]
[link.wg0]
kind = "wireguard"
peers = { attic = 2, laptop = 3 }
routed = "198.18.0.0/24"
"""
PUBLISHED = '[[publish]]\nto = "192.168.1.9"\ntcp = 80\n'
RELAYED = '[[publish]]\nto = "2001:db8::9"\ntcp = 80\n'
BRIDGE = '[link.br]\nkind = "bridge"\nover = "wg0"\nmembers = { attic = 8 }\n'
GUE = '[link.br]\nkind = "bridge"\nmembers = { attic = 8, laptop = 9 }\n'
WG1 = '[link.wg1]\nkind = "wireguard"\nhub = "attic"\npeers = { laptop = 2 }\nrouted = "198.18.8.0/24"\ntable = 99\n'
TUNNEL = FOUR_IN_SIX.replace("231.201.224.144", "203.0.113.144")


def complaints(text):
    """All findings about a description, as lines."""
    try:
        return [str(finding) for finding in check.check(reader.read(text))]
    except DescriptionError as error:
        return str(error).split("\n")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_has_no_mistake(example):
    assert not [line for line in complaints(example.read_text()) if line.startswith("error")]


def test_there_is_an_example_for_every_kind_of_set_up():
    assert [path.stem for path in EXAMPLES] == ["4in6", "bridge", "exit", "relay-wireguard", "uplink"]


def test_an_uplink_needs_a_device_of_each_peer_and_a_network_to_masquerade():
    text = BASE.replace("routed", 'route = "uplink"\nrouted')
    said = complaints(text)
    assert (
        'error: link.wg0.masqueraded: names no IPv4 network, and route = "uplink" is for IPv4; expected one such as "198.18.4.0/24"'
        in said
    )
    assert (
        'error: link.wg0.peers: nothing says whose IPv4 leaves through it at laptop; a platnode has lan_device = "plat" in [client.laptop]'
        in said
    )


def test_tunnel_addresses_come_from_the_public_address_as_one_reads_it():
    (link,) = reader.read(FOUR_IN_SIX).links
    assert link.server_address == IPv6Address("54a0:6231:d015:6ef9:231:201:224:144")
    assert link.home_address == IPv6Address("2e5b:9a11:b0a8:fdd2:231:201:224:144")


@pytest.mark.parametrize("bits", [65, 80, 96, 112, 124, 126, 127, 128])
@pytest.mark.parametrize(
    ("end", "own"), [("server", "54a0:6231:d015:6ef9::5"), ("home", "2e5b:9a11:b0a8:fdd2::5")]
)
def test_a_prefix_without_room_for_a_tunnel_address_is_refused_and_the_own_address_serves(end, own, bits):
    text = re.sub(rf"{own.partition('::')[0]}:[0-9a-f:]+/64", f"{own}/{bits}", TUNNEL)
    place, key = "server" if end == "server" else "home.attic", f"link.wrap1.{end}_address"
    (said,) = complaints(text)
    assert said.startswith(
        f"error: {key}: cannot be derived from {place}.ipv6: the rest of that /64 is not in "
    )
    assert said.endswith(f'for example its own: {end}_address = "{own}"')
    assert complaints(f'{text}\n{end}_address = "{own}"') == []
    (said,) = complaints(f'{text}\n{end}_address = "2001:db8::9"')
    assert said.startswith(f"warning: {key}: 2001:db8::9 is not in {place}.ipv6, ")


def test_a_larger_prefix_gives_an_address_in_the_64_of_the_machine():
    text = FOUR_IN_SIX.replace("fdd2::1/64", "fdd2::1/56")
    assert text != FOUR_IN_SIX
    (link,) = reader.read(text).links
    assert link.home_address == IPv6Address("2e5b:9a11:b0a8:fdd2:231:201:224:144")


PI = BASE.replace('device = "wan"', 'device = "eth0"').replace('lan_device = "br-lan"', "")
TO_LAN = '[[publish]]\ntcp = 443\nto = "192.168.1.9"\n'


@pytest.mark.parametrize(
    ("text", "is_said"),
    [
        (PI + TO_LAN, True),
        (PI.replace("[home.attic]", '[home.attic]\nlan_device = "eth0"') + TO_LAN, True),
        (PI.replace("[home.attic]", '[home.attic]\nlan_device = "eth1"') + TO_LAN, False),
        (PI.replace("[home.attic]", "[home.attic]\nmasquerade = true") + TO_LAN, False),
        (PI.replace("[home.attic]", "[home.attic]\nmasquerade = false") + TO_LAN, False),
        (PI + TO_LAN.replace("192.168.1.9", "198.18.0.2"), False),
        (PI + TO_LAN.replace("tcp = 443", "whole_address = true\nexcept = ['tcp/22']"), True),
        (PI + TO_LAN + 'by = "relay"\n', True),
        (PI + TO_LAN.replace("192.168.1.9", "2001:db8::9"), False),
    ],
)
def test_a_target_that_may_answer_by_another_gateway_is_pointed_at(text, is_said):
    said = [line for line in complaints(text) if "must answer by attic" in line]
    assert len(said) == is_said
    if said:
        assert all(
            way in said[0] for way in ("masquerade = true in [home.attic]", 'by = "relay"', "attic itself")
        )


def test_a_tunnel_has_no_encapsulation_limit_unless_asked_for_and_the_room_it_takes():
    (link,) = reader.read(FOUR_IN_SIX).links
    assert (link.encap_limit, link.mtu_bytes) == (None, 1460)
    (link,) = reader.read(FOUR_IN_SIX + "encap_limit = 4").links
    assert (link.encap_limit, link.mtu_bytes) == (4, 1452)


def test_a_description_without_mistakes_is_all_there():
    whole = reader.read(BASE + '[[publish]]\ntcp = [80, "8000-8010"]\nto = "192.168.1.9"\n')
    (publication,) = whole.publications
    assert list(whole.ends) == ["server", "attic", "laptop"]
    assert (publication.tcp, publication.to) == (((80, 80), (8000, 8010)), IPv4Address("192.168.1.9"))
    assert (publication.by, publication.link) == ("kernel", "wg0")
    assert complaints(BASE) == []


FORM = [
    ("[server]\ndevice = 'eth0'", "error: server.ipv4: is missing; for example ipv4 = \"203.0.113.7\""),
    ("x = 1", "error: x: no such key here; there is server, home, client, link, publish"),
    ("[server", "error: reach.toml: no TOML: Expected ']' at the end of a table declaration (at end of document)"),
    (BASE.replace("device = \"wan\"", "devise = 'wan'"), 'error: home.attic.devise: no such key here; did you mean "device"?'),
    (BASE.replace("203.0.113.7", "203.0.113.300"), 'error: server.ipv4: "203.0.113.300": expected an IPv4 address in quotes, such as "203.0.113.7"'),
    (BASE.replace("192.168.1.0/24", "192.168.1.5/24"), 'error: home.attic.lan: "192.168.1.5/24": that is an address within a network; the network is "192.168.1.0/24"'),
    (BASE.replace("::1/64", "::1"), 'error: server.ipv6: "2001:db8:1::1": expected an IPv6 address with its prefix length, such as "2001:db8:1:2::1/64"'),
    (BASE.replace('"wireguard"', '"wiregard"'), 'error: link.wg0.kind: "wiregard": expected one of 4in6, wireguard, bridge'),
    (BASE.replace("laptop = 3", "laptob = 3"), 'error: link.wg0.peers: {\'attic\': 2, \'laptob\': 3}: there is no server or home or client of that name; did you mean "laptop"?'),
    (BASE.replace("laptop = 3", "laptop = 2"), "error: link.wg0.peers: {'attic': 2, 'laptop': 2}: attic and laptop both have number 2; each needs its own"),
    (BASE + "mtu = 1279", "error: link.wg0.mtu: 1279: expected bytes, a number from 1280 to 1440 without quotes"),
    (BASE + 'mtu = "1400"', 'error: link.wg0.mtu: "1400": expected bytes, a number from 1280 to 1440 without quotes'),
    (BASE + "keepalive_s = true", "error: link.wg0.keepalive_s: true: expected seconds, 0 for none, a number from 0 to 65535 without quotes"),
    (BASE + 'domain = "a b"', 'error: link.wg0.domain: "a b": expected a domain name in quotes, such as "fritz.box"'),
    (BASE.replace("link.wg0", "link.wireguard-of-home"), "error: link.wireguard-of-home: a link's name is its device's name: expected the name of a network device in quotes, at most 15 of A-Z a-z 0-9 . _ -"),
    (BASE + '[[publish]]\nto = "192.168.1.9"\ntcp = "90-80"', 'error: publish[1].tcp: "90-80": the range ends before it begins; meant "80-90"?'),
    (BASE + '[[publish]]\nto = "192.168.1.9"\ntcp = 0', "error: publish[1].tcp: 0: ports go from 1 to 65535"),
    (BASE + '[[publish]]\nto = "192.168.1.9"\ntcp = true', 'error: publish[1].tcp: true: expected a port such as 443 or a range such as "8000-8010"'),
    (BASE + "[[publish]]\ntcp = 80", 'error: publish[1].to: is missing; for example to = "192.168.1.210" or "2001:db8:1:2::10"'),
    (BASE + "[home.server]\ndevice = 'eth0'", 'error: home.server: the name "server" is the server\'s; choose another'),
    (BASE.replace("laptop", "-laptop"), "error: client.-laptop: a name begins with a letter or digit, and has at most 63 characters"),
    (BASE.replace("laptop", "l" * 64), f"error: client.{'l' * 64}: a name begins with a letter or digit, and has at most 63 characters"),
    (BASE + '[[publish]]\ntcp = 80\nto = "::ffff:192.0.2.1"', 'error: publish[1].to: "::ffff:192.0.2.1": that is an IPv4 address; write "192.0.2.1"'),
    (BASE + BRIDGE + 'macs = { attic = "00:00:00:00:00:00" }', "error: link.br.macs: {'attic': '00:00:00:00:00:00'}: no device can have a MAC address of zeros"),
    (BASE.replace("eth0", "-eth0"), 'error: server.device: "-eth0": expected the name of a network device in quotes, at most 15 of A-Z a-z 0-9 . _ -'),
    (BASE.replace("eth0", "all"), 'error: server.device: "all": expected the name of a network device in quotes, at most 15 of A-Z a-z 0-9 . _ -'),
    (BASE.replace("eth0", "x" * 99), f'error: server.device: "{"x" * 60}…": expected the name of a network device in quotes, at most 15 of A-Z a-z 0-9 . _ -'),
    (BASE.replace("eth0", "a\\nb"), 'error: server.device: "a\\nb": expected the name of a network device in quotes, at most 15 of A-Z a-z 0-9 . _ -'),
    (BASE.replace("2001:db8:1::1/64", "2001:db8:1::/64"), 'error: server.ipv6: "2001:db8:1::/64": that is the network; expected an address in it, such as "2001:db8:1::1/64"'),
    (BASE.replace("2001:db8:1::1/64", "2001:db8:1::1/0"), 'error: server.ipv6: "2001:db8:1::1/0": nobody has a whole /0; expected its link\'s, mostly /64'),
    (BASE.replace("2001:db8:1::1/64", "fe80::1%eth0/64"), 'error: server.ipv6: "fe80::1%eth0/64": no IPv6 address; expected one such as "2001:db8:1:2::1/64"'),
    (BASE + 'endpoint = "2001:db8::1:x"', 'error: link.wg0.endpoint: "2001:db8::1:x": expected a name or an address in quotes, such as "vpn.example.org" or "[2001:db8::1]:51820"'),
    (BASE + 'endpoint = "1.2.3"', 'error: link.wg0.endpoint: "1.2.3": expected a name or an address in quotes, such as "vpn.example.org" or "[2001:db8::1]:51820"'),
    (BASE + 'endpoint = "a:0"', 'error: link.wg0.endpoint: "a:0": expected a name or an address in quotes, such as "vpn.example.org" or "[2001:db8::1]:51820"'),
    (BASE + 'domain = ".."', 'error: link.wg0.domain: "..": expected a domain name in quotes, such as "fritz.box"'),
    (FOUR_IN_SIX + 'server_address = "1.2.3.4"', 'error: link.wrap1.server_address: "1.2.3.4": expected an IPv6 address in quotes, such as "2001:db8:1:2::1"'),
    (FOUR_IN_SIX.replace('ipv6 = "2e5b:9a11:b0a8:fdd2::1/64"', ""), 'error: link.wrap1.home_address: cannot be derived without home.attic.ipv6; add ipv6 = "2001:db8:1:2::1/64" there'),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line"), FORM, ids=range(len(FORM)))
def test_a_mistake_of_form_is_said_with_its_key_and_what_would_be_right(text, line):
    assert line in complaints(text)


SENSE = [
    (BASE.replace("198.18.0.0/24", "192.168.1.0/25"), "error: link.wg0.routed: 192.168.1.0/25 overlaps home.attic.lan = 192.168.1.0/24; networks that are joined need addresses of their own"),
    (BASE.replace("198.18.0.0/24", "100.64.9.0/24"), "warning: link.wg0.routed: 100.64.9.0/24: meets 100.64.0.0/10, which is carrier-grade NAT's (RFC 6598): a provider that uses DS-Lite or CGNAT may route it to its own machines; 198.18.0.0/15 is hardly ever met"),
    (BASE.replace("198.18.0.0/24", "25.0.0.0/24"), "warning: link.wg0.routed: 25.0.0.0/24: meets 25.0.0.0/8, which belongs to the UK Ministry of Defence, however quiet it looks; 198.18.0.0/15 is hardly ever met"),
    (BASE.replace("198.18.0.0/24", "224.1.0.0/24"), "error: link.wg0.routed: 224.1.0.0/24: meets 224.0.0.0/4, which is for multicast"),
    (BASE.replace("198.18.0.0/24", "fe80:1::/64"), "error: link.wg0.routed: fe80:1::/64: meets fe80::/10, which is link-local and not routed; take one that begins with fd"),
    (BASE.replace("198.18.0.0/24", "8.8.8.0/24"), "warning: link.wg0.routed: 8.8.8.0/24: it is public and belongs to somebody, whose machines cannot be reached any more; 198.18.0.0/15 is hardly ever met"),
    (BASE.replace("198.18.0.0/24", "198.18.0.0/30").replace("laptop = 3", "laptop = 9"), "error: link.wg0.peers: number 9 has no place in 198.18.0.0/30"),
    (BASE.replace("203.0.113.7", "10.0.0.5"), 'warning: server.ipv4: 10.0.0.5 is not public, nobody on the internet reaches it; if the provider translates it, write the public address here and listen = "10.0.0.5"'),
    (FOUR_IN_SIX, "error: server.ipv4: 231.201.224.144 is nobody's address; expected the server's public one"),
    (BASE.replace("attic = 2", "attic = 1"), "error: link.wg0.peers: attic has number 1, which is the hub's; expected 2 or more"),
    (BASE + 'hub = "attic"', "error: link.wg0.peers: attic is the hub, which has number 1; leave it out here"),
    (BASE.replace("wg0", "wan"), "error: link.wan: home.attic has a device of that name already; choose another"),
    (BASE + 'route = "all"', 'warning: link.wg0.masqueraded: names no network: with route = "all", answers from the internet find no way back to private addresses'),
    (BASE + '[[publish]]\nto = "192.168.1.9"\n', "error: publish[1]: publishes nothing: expected either tcp or udp ports, or whole_address = true"),
    (BASE + '[[publish]]\nto = "192.168.7.9"\ntcp = 80', "error: publish[1].to: 192.168.7.9 is in no network behind wg0; see the homes' lan"),
    (BASE + '[[publish]]\nto = "2001:db8::9"\ntcp = 80\nby = "kernel"', 'error: publish[1].to: the kernel leads IPv4 to IPv4 only; for 2001:db8::9, by = "relay"'),
    (BASE + '[[publish]]\nto = "192.168.1.9"\ntcp = 80\nproxy = "v2"', 'error: publish[1].proxy: is the relay\'s; for this, by = "relay"'),
    (BASE + '[[publish]]\nto = "2001:db8::9"\nudp = 53\nproxy = "v2"', "error: publish[1].proxy: the PROXY protocol is for tcp; publish the udp ports separately"),
    (BASE + '[[publish]]\nto = "192.168.1.9"\ntcp = "80-90"\nto_port = 8080', 'error: publish[1].to_port: a range 80-90 keeps its ports in the kernel; use by = "relay"'),
    (BASE + '[[publish]]\nto = "2001:db8::9"\nudp = "51000-52000"', "error: publish[1].udp: link.wg0.port has udp port 51820 already; a port leads to one place"),
    (BASE + '[[publish]]\nto = "2001:db8::9"\ntcp = 80\n[[publish]]\nto = "2001:db8::8"\ntcp = "1-100"', "error: publish[2].tcp: publish[1].tcp has tcp port 80 already; a port leads to one place"),
    (BASE + '[[publish]]\nto = "192.168.1.9"\nwhole_address = true', 'warning: publish[1]: SSH to 203.0.113.7 will reach 192.168.1.9, not the server: manage the server over IPv6, or add except = ["tcp/22"]'),
    (BASE.replace("203.0.113.7", "255.255.255.255"), "error: server.ipv4: 255.255.255.255 is nobody's address; expected the server's public one"),
    (BASE.replace('device = "wan"', 'device = "wan"\nipv4 = "0.0.0.0"'), "error: home.attic.ipv4: 0.0.0.0 is no machine's address"),
    (BASE.replace("[home", 'listen = "127.0.0.1"\n[home'), "error: server.listen: 127.0.0.1 is no machine's address"),
    (BASE + 'dns = "ff02::fb"', "error: link.wg0.dns: ff02::fb is no machine's address"),
    (BASE + '[[publish]]\nto = "::"\ntcp = 80', "error: publish[1].to: :: is no machine's address"),
    (BASE + '[[publish]]\nto = "192.168.1.9"\nwhole_address = true\nto_port = 80', "error: publish[1].to_port: is for ports; a whole address keeps all of them"),
    (BASE + "[client.phone]", "warning: client.phone: no link leads there, so nothing will be set up"),
    (BASE + '[link.br]\nkind = "bridge"\nover = "wg1"\nmembers = { attic = 8 }', 'error: link.br.over: "wg1" is no wireguard link; did you mean "wg0"?'),
    (BASE + '[link.br]\nkind = "bridge"\nover = "wg0"\nmembers = { attic = 8 }\nprefix = "2001:db8::/56"', "error: link.br.prefix: 2001:db8::/56: hosts make themselves addresses in a /64 only (RFC 4862)"),
    (BASE + RELAYED.replace("2001:db8::9", "203.0.113.7") + 'by = "relay"', 'error: publish[1].to: 203.0.113.7 is where the relay itself listens; for what runs on the server, expected "127.0.0.1"'),
    (BASE + RELAYED.replace("2001:db8::9", "fe80::1"), "error: publish[1].to: fe80::1 is no machine's address"),
    (BASE + RELAYED + f"from = {[f'198.51.{i}.0/24' for i in range(65)]}", "error: publish[1].from: 65 networks, and the relay takes 64; join some"),
    (BASE + PUBLISHED.replace("1.9", "1.255"), "error: publish[1].to: 192.168.1.255 is 192.168.1.0/24 as a whole; expected a machine in it"),
    (BASE + 'route = "nothing"\n' + PUBLISHED, 'error: publish[1].to: wg0 has route = "nothing", so 192.168.1.0/24 is not behind it'),
    (BASE.replace("192.168.1.0/24", "203.0.113.0/24"), "error: home.attic.lan: 203.0.113.0/24 has server.ipv4 = 203.0.113.7, which would be sent into a link"),
    (BASE.replace("192.168.1.0/24", "2001:db8:2::/64"), "error: home.attic.lan: 2001:db8:2::/64 has home.attic.ipv6 = 2001:db8:2::1: server would send into wg0 what carries it"),
    (BASE.replace("2001:db8:2::1", "2001:db8:1::1"), "error: home.attic.ipv6: 2001:db8:1::1 is server.ipv6 too; each machine has an address of its own"),
    (BASE.replace('"wan"', '"wan"\nipv4 = "203.0.113.7"'), "error: home.attic.ipv4: 203.0.113.7 is server.ipv4 too; each machine has an address of its own"),
    (BASE + 'endpoint = "192.168.1.7:99"', "error: link.wg0.endpoint: 192.168.1.7 is within 192.168.1.0/24, where only wg0 itself leads"),
    (BASE + BRIDGE + WG1.replace("wg1", "br-8").replace('hub = "attic"', "port = 9"), "error: link.br-8: server has a device of that name already, br-8 of link.br; choose another"),
    (BASE + WG1 + WG1.replace("wg1", "wg2").replace("8.0/24", "9.0/24"), "error: link.wg2.port: link.wg1 has UDP port 51820 of attic already"),
    (BASE + BRIDGE.replace("attic = 8", "attic = 8, server = 9"), "error: link.br.members: the server is the hub, and in it already; leave it out here"),
    (BASE + BRIDGE + BRIDGE.replace("link.br", "link.bs"), "error: link.bs.members: link.br has the way to attic by wg0 already"),
    (BASE + GUE + 'remotes = { attic = "198.51.100.5:5555", laptop = "198.51.100.5:5556" }', "error: link.br.remotes: laptop at 198.51.100.5, which is attic; each needs its own"),
    (BASE + GUE + 'remotes = { attic = "203.0.113.7:5555", laptop = "198.51.100.5:5556" }', "error: link.br.remotes: attic at 203.0.113.7, which is server.ipv4; each needs its own"),
    (BASE + BRIDGE + 'macs = { attic = "02:00:00:00:00:01", laptop = "02:00:00:00:00:01" }', "error: link.br.macs: laptop has 02:00:00:00:00:01, attic's; each device has its own"),
    (BASE + BRIDGE + 'prefix = "2001:db8:1::/64"', 'error: link.br.prefix: 2001:db8:1::/64 has server.ipv6 = 2001:db8:1::1, so it is on the wire of eth0; expected another one, or provider = "proxied"'),
    (BASE.replace("1::1/64", "1::1/124") + BRIDGE + 'prefix = "2001:db8:1::/64"\nprovider = "proxied"', 'error: link.br.prefix: the provider gives the server 2001:db8:1::/124 of 2001:db8:1::/64, the rest is other people\'s: leave prefix out, or ask for a /64 of your own; where the /64 is yours whatever the device shows, say so: ipv6 = "2001:db8:1::1/64"'),
    (BASE + BRIDGE + 'network = "192.168.0.0/16"', "error: home.attic.lan: 192.168.1.0/24 is not what its number 8 in br says, 192.168.8.0/24"),
    (TUNNEL + "mtu = 1500", "warning: link.wrap1.mtu: packets of 1500 bytes do not fit, they will be fragmented outside; at most 1460 do"),
    (TUNNEL + '[link.wrap2]\nkind = "4in6"\nhome = "attic"\ntable = 77', "error: link.wrap2: link.wrap1 has its two addresses already"),
    (BASE + '[link.br]\nkind = "bridge"\nmembers = { attic = 8 }', 'error: link.br.remotes: attic is missing: without a wireguard link in `over` it comes over GUE, and the server must know from where: { attic = "203.0.113.9:5555" }'),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line"), SENSE, ids=range(len(SENSE)))
def test_what_cannot_work_or_will_surprise_is_said(text, line):
    assert line in complaints(text)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("vpn.example.org", "vpn.example.org:51820"),
        ("vpn.example.org:99", "vpn.example.org:99"),
        ("203.0.113.9", "203.0.113.9:51820"),
        ("203.0.113.9:99", "203.0.113.9:99"),
        ("2001:db8::1", "[2001:db8::1]:51820"),
        ("[2001:db8::1]", "[2001:db8::1]:51820"),
        ("[2001:db8::1]:99", "[2001:db8::1]:99"),
    ],
)
def test_an_endpoint_is_a_name_or_an_address_with_a_port_or_without(given, used):
    whole = reader.read(BASE + f'endpoint = "{given}"')
    (link,) = make(whole, "laptop").devices
    assert link.peers[0].endpoint == used


def test_all_mistakes_are_said_at_once():
    text = BASE.replace("203.0.113.7", "x").replace('"198.18.0.0/24"', "7").replace('device = "wan"', "")
    assert len(complaints(text)) == 3


def test_rfc_7748_section_5_2_first_vector():
    scalar = bytes.fromhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4")
    point = bytes.fromhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")
    product = "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"
    assert keys.x25519(scalar, point).hex() == product


def test_keys_are_made_once_and_private_ones_are_private(tmp_path):
    public = keys.write(tmp_path / "keys", "server")
    assert keys.write(tmp_path / "keys", "server") == public
    assert (tmp_path / "keys" / "server.key").stat().st_mode & 0o777 == 0o600
    found, findings = keys.read(tmp_path / "keys", ["server", "attic"])
    assert (found.public, findings) == ({"server": public}, [])


def test_wrong_keys_are_found(tmp_path):
    keys.write(tmp_path, "server")
    os.chmod(tmp_path / "server.key", 0o644)
    (tmp_path / "attic.pub").write_text((tmp_path / "server.pub").read_text())
    (tmp_path / "laptop.pub").write_text(base64.b64encode(bytes(31)).decode())
    lines = "\n".join(str(each) for each in keys.read(tmp_path, ["server", "attic", "laptop"])[1])
    assert "others may read this private key; chmod 600" in lines
    assert "attic.pub: is server's key too; each end has its own" in lines
    assert "laptop.pub: no WireGuard key: expected 44 characters that end in =" in lines


def test_check_says_so_and_tells_by_its_status(tmp_path, capsys):
    (tmp_path / "reach.toml").write_text(BASE)
    assert main(["--file", str(tmp_path / "reach.toml"), "check"]) == 0
    (tmp_path / "reach.toml").write_text(BASE.replace("eth0", "e" * 16))
    assert main(["--file", str(tmp_path / "reach.toml"), "check"]) == 2
    assert "error: server.device" in capsys.readouterr().out


def test_an_end_that_is_not_there_is_refused_with_those_that_are(tmp_path, capsys):
    (tmp_path / "reach.toml").write_text(BASE)
    assert main(["--file", str(tmp_path / "reach.toml"), "keys", "cellar"]) == 2
    assert 'no end "cellar"' in (said := capsys.readouterr().err)
    assert "server, attic, laptop" in said


def test_the_manual_has_every_key(monkeypatch):
    asked = set()
    get = Table.get

    def note(table, name, *arguments, **options):
        asked.add(name)
        return get(table, name, *arguments, **options)

    monkeypatch.setattr(Table, "get", note)
    for example in EXAMPLES:
        reader.read(example.read_text())
    manual = (
        (Path(__file__).resolve().parents[2] / "docs" / "reach.md").read_text().partition("## The file")[2]
    )
    assert [name for name in sorted(asked) if f"`{name}`" not in manual] == []


def test_the_examples_are_those_of_the_manual():
    manual = (Path(__file__).resolve().parents[2] / "docs" / "reach.md").read_text()
    assert [path.name for path in EXAMPLES if f"../reach/examples/{path.name})" not in manual] == []
