# SPDX-License-Identifier: ISC
"""The command line of the C l3roamd starts ours, as a node that serves IPv6 alone."""

import pytest

from l3roamd_py import c_options
from l3roamd_py.cli_options import as_daemon, make_settings
from l3roamd_py.core import events, wire
from l3roamd_py.core.actions import AddNodeClient, AddRoute, Send, SendClaim
from l3roamd_py.core.core import Core
from l3roamd_py.core.tlv import walk
from l3roamd_py.core.token import NO_TOKEN
from runtime.command_line import UsageError
from xlat464.address import parse_ipv6

OWN, PREFIX = parse_ipv6("fd00::1"), parse_ipv6("2001:db8:1::")
LEAST = ["-a", "fd00::1", "-p", "2001:db8:1::/64"]
ALL = "-dv -c x -e fd01::/96 -n clat -D l3roam9 -4 fd02::/96 --no-netlink --no-ndp --no-nl80211"
MAC = bytes((2, 0, 0, 0, 0, 9))


def settings_of(words):
    meant, ignored = c_options.parse(words)
    return make_settings(as_daemon(meant)), ignored


def test_every_option_is_taken_and_what_is_ignored_is_said():
    settings, ignored = settings_of([*ALL.split(), *LEAST, "-t", "70000", "-bbr0", "-mmesh0", "-m", "mesh0"])
    assert settings.is_verbose
    assert settings.table == 70000
    assert settings.options.told_plat == parse_ipv6("fd01::")
    assert set(settings.without) == {"netlink", "ndp", "nl80211"}
    assert (settings.client_device, settings.mesh_devices) == ("br0", ["mesh0"])
    assert settings.options.node_client_prefix == parse_ipv6("fec0::")
    told = {sentence.split()[0] for sentence in ignored}
    assert told == {"-c", "-n", "-D", "-4"}


def test_what_is_not_said_is_as_the_c_daemon_has_it():
    settings, ignored = settings_of(LEAST)
    assert (settings.table, settings.options.told_plat, settings.without) == (254, None, ())
    assert (settings.client_device, settings.mesh_devices, settings.is_verbose) == ("br-client", [], False)
    assert not ignored


def test_of_what_comes_twice_the_last_counts_but_of_i():
    words = "-t 10 -t 11 -P fd01::/64 -P fd02::/64 -s /run/a -s /run/b -i wlan0 -i wlan1 -b br0"
    settings, _ = settings_of([*LEAST, *words.split()])
    assert (settings.table, settings.socket, settings.client_device) == (11, "/run/b", "wlan0")
    assert settings.options.node_client_prefix == parse_ipv6("fd02::")


@pytest.mark.parametrize("way", ["netlink", "ndp", "nl80211"])
def test_no_means_what_it_says(way):
    """The C daemon takes --no-ndp for --no-nl80211, and the other way round."""
    assert settings_of([*LEAST, f"--no-{way}"])[0].without == (way,)


def test_the_plat_that_is_told_is_in_its_info(core):
    core.options.told_plat = parse_ipv6("fd01::")
    run(core, events.AddressSeen(MAC, PREFIX[:15] + b"\x07"), 1.0)
    for tick in range(20):
        run(core, events.Tick(), 1.1 + tick / 10)
    actions = heard(core, wire.Claim(MAC), parse_ipv6("fd00::2"), False, 3.9)
    actions += [action for tick in range(20) for action in core.handle(events.Tick(), 4.0 + tick / 10)]
    bodies = [wire.decode(action.payload)[1] for action in actions if isinstance(action, Send)]
    (plat,) = {body.plat for body in bodies if isinstance(body, wire.Info)}
    assert plat == parse_ipv6("fd01::")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-a", "fd00::1"], "specifying -p is mandatory"),
        (["-p", "fd00::/64"], "specifying -a is mandatory"),
        ([*LEAST, "-a", "fd00::2"], "-a must not be specified more than once"),
        ([*LEAST, "-a"], "-a: a value is missing"),
        ([*LEAST, "-x"], "'-x' is no option"),
        ([*LEAST, "more"], "'more' is no option"),
        ([*LEAST, "-e", "fd01::/64"], "-e: 'fd01::/64' is a /64, expected a /96"),
        ([*LEAST, "-4", "10.0.0.0/8"], "-4: "),
        ([*LEAST, "-t", "main"], "-t: 'main' is no routing table, expected a number from 1 to 4294967295"),
        ([*LEAST, "-t", "0"], "-t: '0' is no routing table"),
        ([*LEAST, "-P", "fd01::/60"], "-P: 'fd01::/60' is a /60, expected a /64"),
        ([*LEAST, "-m", "a/b"], "-m: "),
        (["-a", "10.0.0.1", "-p", "fd00::/64"], "-a: "),
    ],
)
def test_a_wrong_line_is_refused_in_a_sentence(words, says):
    with pytest.raises(UsageError) as refused:
        c_options.parse(words)
    assert says in str(refused.value)


@pytest.mark.parametrize("words", [["daemon", "--clat"], ["--help"], ["-h"], ["--version"], ["--flush"], []])
def test_other_command_lines_are_not_meant(words):
    assert not c_options.is_meant(words)


@pytest.fixture
def core():
    return Core(settings_of(LEAST)[0].options)


def heard(core, body, sender, extended, now_s):
    payload = wire.encode(wire.Header(sender, 7, 1, extended), body)
    return core.handle(events.Datagram(sender, OWN, payload), now_s)


def run(core, event, now_s):
    """Bring it an event; nobody has a client that it claims."""
    actions = core.handle(event, now_s)
    for _ in [action for action in actions if isinstance(action, SendClaim)]:
        actions = actions + core.handle(events.ClaimUnreachable(MAC), now_s)
    return actions


def test_such_a_node_serves_ipv6_and_speaks_as_version_0(core):
    address, other = PREFIX[:15] + b"\x07", parse_ipv6("fd00::2")
    actions = run(core, events.AddressSeen(MAC, address), 1.0)
    claims = [action for action in actions if isinstance(action, Send | SendClaim)]
    assert claims
    assert all(not wire.decode(claim.payload)[0].extended for claim in claims)
    assert AddRoute(MAC, address) in actions
    actions = [action for tick in range(20) for action in run(core, events.Tick(), 1.1 + tick / 10)]
    assert any(isinstance(action, AddNodeClient) for action in actions)
    core.handle(events.ClientSeen(MAC, bytes((10, 46, 0, 9))), 3.7)
    assert core.node.clients[MAC].ipv4 is None, "IPv4 is nothing to it"
    actions = heard(core, wire.Claim(MAC), other, False, 3.9)
    actions += [action for tick in range(20) for action in core.handle(events.Tick(), 4.0 + tick / 10)]
    infos = [action for action in actions if isinstance(action, Send) and action.destination == other]
    header, info = wire.decode(infos[0].payload)
    assert (header.sender, header.extended, info.addresses) == (OWN, False, (address,))
    assert set(walk(infos[0].payload, 24)) == {0, 1}


def test_such_a_node_takes_nothing_of_a_lease(core):
    core.handle(events.LeaseGranted(MAC, bytes((10, 46, 0, 9)), 600), 1.0)
    assert not core.node.clients
    assert not core.node.granted


@pytest.mark.parametrize("has_lease", [True, False])
def test_such_a_node_takes_a_client_from_one_with_a_clat(core, has_lease):
    """What that one tells has its mark, and no nonce of a CLAIM, which version 0 would not know."""
    a, address = parse_ipv6("fddd::a:c000:1"), PREFIX[:15] + b"\x07"
    lease = wire.Lease(PREFIX[:12] + bytes((10, 46, 0, 9)), PREFIX, 300, NO_TOKEN)
    run(core, events.ClientSeen(MAC), 1.0)
    info = wire.Info(MAC, (address,), bytes(16), 0, lease if has_lease else None, None)
    actions = heard(core, info, a, True, 1.01)
    actions += [action for tick in range(10) for action in run(core, events.Tick(), 1.1 + tick / 20)]
    assert AddRoute(MAC, address) in actions
    actions += core.handle(events.ArpAnswered(MAC, address), 1.7)
    assert any(isinstance(action, AddNodeClient) for action in actions)
    bodies = [wire.decode(each.payload)[1] for each in actions if getattr(each, "destination", None) == a]
    assert wire.Ack(MAC) in bodies
    assert core.node.clients[MAC].lease is None


def test_such_a_node_gives_a_client_to_one_with_a_clat(core):
    address = PREFIX[:15] + b"\x07"
    run(core, events.AddressSeen(MAC, address), 1.0)
    for tick in range(20):
        run(core, events.Tick(), 1.1 + tick / 10)
    actions = heard(core, wire.Claim(MAC), parse_ipv6("fddd::b:c000:1"), True, 3.9)
    actions += [action for tick in range(3) for action in core.handle(events.Tick(), 3.92 + tick / 50)]
    infos = [wire.decode(each.payload) for each in actions if isinstance(each, Send)]
    header, info = next((header, body) for header, body in infos if isinstance(body, wire.Info))
    assert (header.extended, info.addresses, info.lease) == (False, (address,), None)
    assert MAC in core.node.departed
