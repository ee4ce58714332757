# SPDX-License-Identifier: ISC
"""`reach up` and `down` on machines in namespaces: what is published answers, and the machine is as before."""

import json
import re
import socket
import subprocess
import threading
import time

import pytest
import reach_site
from reach_lab import address, needs, wait_until
from reach_site import (
    ENDS,
    HOST,
    HUB_AT_HOME,
    PORTS,
    REACH,
    RELAY,
    WG,
    WHOLE,
    call,
    kill,
    serve_tcp,
    servers,
    snapshot,
    tell,
    whoami,
)

from sdk.timeouts import TIMEOUT_SCALE

pytestmark = needs("wireguard-go", "wg")
net, site = reach_site.net, reach_site.site


def test_what_is_published_is_answered_by_a_host_at_home_that_sees_who_calls(site):
    tell(site.host, 443)
    site.both_up()
    assert call(site.caller, "203.0.113.7", 443) == "203.0.113.99"
    with pytest.raises(OSError):  # noqa: PT011  refused or timed out
        call(site.caller, "203.0.113.7", 444, timeout_s=5)


@pytest.mark.parametrize("own", ["192.168.1.1", "198.18.0.2"])
def test_the_home_end_itself_answers_what_is_published_though_it_has_no_ipv4(site, own):
    site.describe(ENDS + WG + PORTS.replace(HOST, own))
    tell(site.home, 443)
    site.both_up()
    assert call(site.caller, "203.0.113.7", 443, timeout_s=5 * TIMEOUT_SCALE) == "203.0.113.99"
    with site.home.open_socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        phone.bind((own, 5060))
        with site.caller.open_socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
            caller.sendto(b"INVITE", ("203.0.113.7", 5060))
            phone.sendto(b"RINGING", phone.recvfrom(99)[1])
            assert caller.recvfrom(99) == (b"RINGING", ("203.0.113.7", 5060))


def test_published_udp_answers_come_from_the_public_address(site):
    site.both_up()
    with site.host.open_socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        phone.bind(("", 5060))
        with site.caller.open_socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
            caller.sendto(b"INVITE", ("203.0.113.7", 5060))
            text, sender = phone.recvfrom(99)
            assert (text, sender[0]) == (b"INVITE", "203.0.113.99")
            phone.sendto(b"RINGING", sender)
            assert caller.recvfrom(99) == (b"RINGING", ("203.0.113.7", 5060))


def test_a_whole_address_goes_home_with_ping_and_leaves_from_there_but_ssh_stays(site):
    site.describe(ENDS + WG + WHOLE)
    for machine, port in ((site.host, 8443), (site.server, 22), (site.site, 80)):
        tell(machine, port)
    site.both_up()
    assert site.caller.run("ping", "-c2", "-W2", "203.0.113.7").returncode == 0
    assert call(site.caller, "203.0.113.7", 8443) == "203.0.113.99"
    assert call(site.caller, "203.0.113.7", 22) == "203.0.113.99"
    assert call(site.host, "203.0.113.80", 80) == "203.0.113.7", (
        "what it begins itself has the public address"
    )


def test_up_twice_changes_nothing_and_breaks_no_connection(site):
    done = threading.Event()

    def serve(connection):
        connection.sendall(b"1")
        done.wait(60)
        connection.sendall(b"2")

    serve_tcp(site.host, "0.0.0.0", 443, serve, socket.AF_INET)
    site.both_up()
    before = snapshot(site.server)
    with site.caller.connect("203.0.113.7", 443) as connection:
        assert connection.recv(1) == b"1"
        assert ", 0 of " in site.reach(site.server, "up", "server").stdout
        assert ", 0 of " in site.reach(site.home, "up", "attic").stdout
        done.set()
        assert connection.recv(1) == b"2"
    assert [part for part in snapshot(site.server) if "ipi" in part] == [
        part for part in before if "ipi" in part
    ]


def test_down_leaves_both_machines_as_they_were(site):
    before = snapshot(site.server), snapshot(site.home)
    site.both_up()
    assert (snapshot(site.server), snapshot(site.home)) != before
    site.down()
    assert (snapshot(site.server), snapshot(site.home)) == before


def test_what_is_no_longer_in_the_description_is_taken_back_and_the_rest_stays(site):
    tell(site.host, 443)
    tell(site.host, 80)
    site.both_up()
    site.describe(ENDS + WG + PORTS.replace("443", "80"))
    site.at_once("up", (site.server, "server"), (site.home, "attic"))
    assert call(site.caller, "203.0.113.7", 80) == "203.0.113.99"
    with pytest.raises(OSError):  # noqa: PT011
        call(site.caller, "203.0.113.7", 443, timeout_s=5)


def test_the_home_may_change_its_address(site):
    tell(site.host, 443)
    site.both_up()
    site.home.run("ip", "addr", "del", "2001:db8:0:1::20/64", "dev", "eth0")
    address(site.home, "eth0", "2001:db8:0:1::21/64")
    try:
        wait_until(
            lambda: site.host.run("ping", "-c1", "-W1", "198.18.0.1", check=False).returncode == 0, "it roams"
        )
        assert call(site.caller, "203.0.113.7", 443) == "203.0.113.99"
    finally:
        site.home.run("ip", "addr", "del", "2001:db8:0:1::21/64", "dev", "eth0")
        address(site.home, "eth0", "2001:db8:0:1::20/64")


def test_what_a_kernel_lacks_is_one_sentence_and_nothing_is_changed(site):
    site.describe(
        ENDS + '[link.wrap1]\nkind = "4in6"\nhome = "attic"\nhome_address = "2001:db8:0:1::20"\n' + PORTS
    )
    before = snapshot(site.server)
    done = site.reach(site.server, "up", "server", check=False)
    if done.returncode == 0:
        pytest.skip("this kernel has ip6_tunnel")
    assert done.stderr.splitlines()[-1] == (
        "reach: wrap1: this kernel lacks IPv4 in IPv6 (module ip6_tunnel); nothing was changed"
    )
    assert snapshot(site.server) == before


def test_down_finds_what_an_up_had_only_begun_or_others_have_taken_away(site):
    """By the name of each step, with no address, no rule and no table of routes that it tells of."""
    site.describe(LAPTOP_EXIT)
    before = snapshot(site.caller)
    site.reach(site.caller, "up", "laptop")
    path = site.state(site.caller) / "laptop.json"
    ledger = path.read_text()
    for line in ("addr flush dev wg0", "-6 addr flush dev wg0"):
        site.caller.run("ip", *line.split())
    assert site.reach(site.caller, "down", "laptop").stderr == ""
    kinds = {each["step"]["kind"] for each in json.loads(ledger)}
    assert kinds >= {"wireguard", "address", "route", "rule"}
    path.write_text(ledger)
    site.caller.run("ip", "link", "add", "wg0", "type", "bridge")
    site.caller.run("ip", "link", "set", "wg0", "up")
    assert site.reach(site.caller, "down", "laptop").stderr == ""
    assert not path.exists()
    assert snapshot(site.caller) == before


def test_a_device_of_that_name_is_not_touched(site):
    site.server.run("ip", "link", "add", "wg0", "type", "bridge")
    before = snapshot(site.server)
    done = site.reach(site.server, "up", "server", check=False)
    assert "there is a device wg0 already, and it is not ours" in done.stderr
    assert snapshot(site.server) == before
    site.server.run("ip", "link", "del", "wg0")


def test_a_device_that_is_not_there_is_said_with_those_that_are(site):
    site.describe((ENDS + WG + PORTS).replace('device = "eth0"', 'device = "ens3"', 1))
    done = site.reach(site.server, "up", "server", check=False)
    assert "there is no device ens3; there is lo, eth0; nothing was changed" in done.stderr


def test_a_table_or_a_network_that_the_machine_has_already_is_not_touched(site):
    site.server.run("ip", "link", "add", "other", "type", "bridge")
    address(site.server, "other", "198.18.0.200/24")
    for undo, sentence in (
        (("ip", "link", "del", "other"), "198.18.0.0/24 is at other already; networks must not overlap"),
        (
            ("nft", "delete", "table", "inet", "reach"),
            "there is a table inet reach already, and it is not ours",
        ),
    ):
        before = snapshot(site.server)
        done = site.reach(site.server, "up", "server", check=False)
        assert done.returncode == 1
        assert sentence in done.stderr.splitlines()[-1]
        assert snapshot(site.server) == before
        site.server.run("nft", "add", "table", "inet", "reach")
        site.server.run(*undo)


def test_what_others_have_taken_away_is_lost_and_up_makes_it_again(site):
    """A reload of the host's own firewall, a network daemon that wants to be alone, and who runs out of memory."""
    site.describe(ENDS + WG + PORTS + RELAY)
    tell(site.host, 443)
    serve_tcp(site.site, "::", 8080, whoami)
    site.both_up()
    site.server.run("nft", "flush", "ruleset")
    site.home.run("ip", "rule", "del", "priority", "4641")
    site.home.run("ip", "link", "del", "wg0")
    of_server, of_home = "LOST: nft reach; `reach up server` makes it again", "LOST: wireguard wg0, address "
    for machine, end, lost in ((site.server, "server", of_server), (site.home, "attic", of_home)):
        done = site.reach(machine, "status", end, check=False)
        assert done.returncode == 1
        assert lost in done.stdout
        assert ("rule IPv4 4641 43" in done.stdout) == (end == "attic")
    site.both_up()
    assert call(site.caller, "203.0.113.7", 443) == "203.0.113.99"
    site.at_once("status", (site.server, "server"), (site.home, "attic"))  # or they would end with 1


def test_an_address_that_the_machine_had_keeps_its_lifetime(site):
    link = 'kind = "4in6"\nhome = "attic"\nserver_address = "2001:db8:0:1::70"\n'
    site.describe(f"{ENDS}[link.wrap1]\n{link}{PORTS}")
    site.server.run("ip", "addr", "add", "2001:db8:0:1::70/64", "dev", "eth0", "nodad")
    try:
        before = site.server.run("ip", "-j", "addr", "show", "dev", "eth0").stdout
        site.reach(site.server, "up", "server", check=False)  # without ip6_tunnel it ends before the device
        assert "deprecated" not in site.server.run("ip", "addr").stdout
        site.reach(site.server, "down", "server")
        assert site.server.run("ip", "-j", "addr", "show", "dev", "eth0").stdout == before
    finally:
        site.server.run("ip", "addr", "del", "2001:db8:0:1::70/64", "dev", "eth0")


def test_a_device_that_has_ipv6_switched_off_is_said(site):
    site.server.run("sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")
    try:
        site.describe(LAPTOP_EXIT)
        done = site.reach(site.server, "up", "server", check=False)
    finally:
        site.server.run("sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=0")
    says = "wg0 has IPv6 switched off (net.ipv6.conf.wg0.disable_ipv6); nothing was changed"
    assert done.stderr.splitlines()[-1] == f"reach: {says}"


def test_another_wireguard_on_the_port_is_said(site):
    with site.server.open_socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("", 51820))
        before = snapshot(site.server)
        done = site.reach(site.server, "up", "server", check=False)
        assert "nothing was changed" in done.stderr
        assert "51820 is another program's already" in done.stderr, done.stderr
        assert snapshot(site.server) == before


def test_the_relay_is_started_reloaded_and_ended(site):
    serve_tcp(site.site, "::", 8080, lambda c: c.sendall(c.recv(99)))
    site.describe(ENDS + RELAY)
    site.reach(site.server, "up", "server")
    assert call(site.caller, "203.0.113.7", 8080).startswith("PROXY TCP4 203.0.113.99 203.0.113.7 ")
    site.describe(ENDS + RELAY.replace("tcp = 8080", "tcp = 8081\nto_port = 8080"))
    site.reach(site.server, "up", "server")
    assert call(site.caller, "203.0.113.7", 8081).startswith("PROXY TCP4")
    site.reach(site.server, "down", "server")
    with pytest.raises(ConnectionRefusedError):
        call(site.caller, "203.0.113.7", 8081)


def test_a_port_that_the_relay_cannot_have_is_said_and_nothing_is_changed(site):
    tell(site.server, 8080)
    site.describe(ENDS + RELAY)
    before = snapshot(site.server)
    done = site.reach(site.server, "up", "server", check=False)
    assert (
        "tcp port 8080 at 203.0.113.7 cannot be had: Address already in use; nothing was changed"
        in done.stderr
    )
    assert snapshot(site.server) == before


def wait_until_undone(site, before):
    """Who waited has no terminal any more; what it says is in a file."""
    log = site.state(site.server) / "server.log"
    wait_until(lambda: "nobody confirmed within" in log.read_text(), "it begins to take back")
    try:
        wait_until(lambda: snapshot(site.server) == before, "it is taken back")
    except AssertionError:
        pytest.fail(f"it is not taken back, and says: {log.read_text()}")


def test_what_nobody_confirms_is_taken_back(site):
    before = snapshot(site.server)
    site.reach(site.server, "up", "server", "--confirm-within", "1")
    wait_until_undone(site, before)


def test_what_is_confirmed_stays_and_until_then_status_says_that_it_waits(site):
    said = site.reach(site.server, "up", "server", "--confirm-within", "300").stdout
    assert re.search(r"it is taken back in \d+ s unless you say: reach confirm server\n", said)
    again = site.reach(site.server, "up", "server").stdout
    assert ", 0 of " in again
    assert "s unless you say: reach confirm server" in again, "an up that changes nothing confirms nothing"
    found = json.loads(site.reach(site.server, "status", "server", "--json", check=False).stdout)
    assert 0 < found["unconfirmed_s"] <= 300
    site.reach(site.server, "confirm", "server")
    wait_until(lambda: "--confirm-within" not in site.server.run("ps", "-eo", "args").stdout, "nobody waits")
    assert site.server.run("ip", "link", "show", "wg0").returncode == 0
    assert "nothing at server waits" in site.reach(site.server, "confirm", "server", check=False).stderr


def test_an_up_that_loses_its_connection_half_way_is_taken_back(site):
    before = snapshot(site.server)
    state = site.state(site.server)
    words = site.server.command(REACH, "--file", site.folder / "reach.toml", "--state", state, "up", "server")
    running = subprocess.Popen([*words, "--confirm-within", "2"], stdout=subprocess.DEVNULL)
    wait_until(lambda: (state / "server.json").exists(), "it has begun")
    kill(running)
    wait_until_undone(site, before)


def test_the_number_of_one_that_waited_and_was_killed_may_be_anybodys(site):
    site.reach(site.server, "up", "server", "--confirm-within", "60")
    path = site.state(site.server) / "server.unconfirmed"
    note = json.loads(path.read_text())
    other = site.server.run("sh", "-c", "sleep 99 >&- 2>&- & echo $!").stdout.strip()
    site.server.run("kill", "-KILL", note["pid"])
    path.write_text(json.dumps(note | {"pid": int(other)}))
    assert "nothing at server waits" in site.reach(site.server, "confirm", "server", check=False).stderr
    site.server.run("kill", "-0", other)


def test_what_would_take_the_ssh_connection_is_refused(site):
    site.describe(ENDS + WG + WHOLE.replace('except = ["tcp/22"]', ""))
    ssh = ["SSH_CONNECTION=198.51.100.1 40000 203.0.113.7 22"]
    done = site.reach(site.server, "up", "server", check=False, env=ssh)
    assert "you are connected by SSH to 203.0.113.7 port 22, which would lead to 192.168.1.210" in done.stderr
    assert site.server.run("nft", "list", "ruleset").stdout == ""
    assert (
        "unless you say: reach confirm server"
        in site.reach(
            site.server, "up", "server", env=["SSH_CONNECTION=2001:db8::1 40000 2001:db8:0:1::7 22"]
        ).stdout
    )
    site.reach(site.server, "confirm", "server")


def test_status_says_what_is_there_and_what_answers(site):
    assert (
        json.loads(site.reach(site.server, "status", "server", "--json", check=False).stdout)["is_up"]
        is False
    )
    tell(site.host, 443)
    site.both_up()
    found = json.loads(site.reach(site.server, "status", "server", "--json").stdout)
    (link,) = found["links"]
    assert link["state"]["mtu_bytes"] == 1420
    assert link["peers"][0]["end"] == "attic"
    assert link["peers"][0]["handshake_age_s"] < 60
    assert [each["answers"] for each in found["published"]] == [True, None]
    servers.pop().close()
    done = site.reach(site.server, "status", "server", check=False)
    assert "tcp 443 to 192.168.1.210 by the kernel: DOES NOT ANSWER" in done.stdout
    assert done.returncode == 1


LAPTOP_EXIT = """
[server]
device = "eth0"
ipv4 = "203.0.113.7"
[client.laptop]
[link.wg0]
kind = "wireguard"
peers = { laptop = 2 }
masqueraded = ["198.18.4.0/24", "fd86:ea04:1119::/64"]
route = "all"
userspace = true
"""


def test_an_exit_gives_ipv6_to_who_has_only_ipv4(site):
    site.describe(LAPTOP_EXIT)
    tell(site.site, 80)
    serve_tcp(site.site, "::", 81, whoami)
    site.at_once("up", (site.server, "server"), (site.caller, "laptop"))
    assert call(site.caller, "2001:db8:0:1::80", 81, socket.AF_INET6) == "2001:db8:0:1::7"
    address(site.site, "eth0", "198.51.100.80/32")
    site.server.run("ip", "route", "add", "198.51.100.80", "dev", "eth0")
    assert call(site.caller, "198.51.100.80", 80) == "203.0.113.7"
    site.server.run("ip", "route", "del", "198.51.100.80")
    site.site.run("ip", "addr", "del", "198.51.100.80/32", "dev", "eth0")


def test_a_hub_at_home_is_reached_through_the_relay_from_an_ipv4_network(site):
    site.describe(ENDS.replace("[home", "[client.laptop]\n[home") + HUB_AT_HOME)
    tell(site.host, 80)
    tell(site.home, 80)
    site.at_once("up", (site.server, "server"), (site.home, "attic"), (site.caller, "laptop"))
    with site.caller.connect(HOST, 80) as connection:
        assert connection.recv(99) == b"192.168.1.1", "the LAN sees its own router"
    with site.caller.connect("198.18.0.1", 80) as connection:
        assert connection.recv(99) == b"198.18.0.2", "the hub sees the laptop itself"


@pytest.mark.parametrize("after_s", [0.3, 0.6, 0.8, 1.0])
def test_what_a_killed_up_has_done_is_found_by_down(site, after_s):
    before = snapshot(site.server)
    state = site.state(site.server)
    words = site.server.command(REACH, "--file", site.folder / "reach.toml", "--state", state, "up", "server")
    running = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(after_s)
    kill(running)
    site.reach(site.server, "down", "server")
    assert snapshot(site.server) == before


def test_a_killed_up_is_carried_on_by_the_next(site):
    state = site.state(site.server)
    words = site.server.command(REACH, "--file", site.folder / "reach.toml", "--state", state, "up", "server")
    running = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: state.is_dir() and list(state.glob("server.json")), "it has begun")
    kill(running)
    tell(site.host, 443)
    site.both_up()
    assert call(site.caller, "203.0.113.7", 443) == "203.0.113.99"


def test_measuring_compares_the_link_with_plain_ipv6(site):
    site.both_up()
    words = site.server.command(REACH, "--file", site.folder / "reach.toml", "test", "server", "--serve")
    serving = subprocess.Popen(words, stdout=subprocess.PIPE)
    try:
        assert b"answering" in serving.stdout.readline()
        found = json.loads(site.reach(site.home, "test", "attic", "--json").stdout)["server"]
    finally:
        kill(serving)
        serving.stdout.close()
    by_way = {each["way"]["name"]: each for each in found}
    assert list(by_way) == ["plain IPv6", "plain IPv4", "wg0"]
    assert by_way["plain IPv4"]["trip_ms"] is None, "the home has no IPv4"
    assert by_way["wg0"]["trip_ms"] > 0 < by_way["plain IPv6"]["trip_ms"]
    assert by_way["wg0"]["megabits_per_s"] > 1


def test_a_firewall_of_the_hosts_own_that_drops_is_pointed_at(site):
    theirs = (
        "table inet theirs {\n chain forward {\n type filter hook forward priority 0; policy drop;\n }\n}\n"
    )
    site.server.run("nft", "-f", "-", input=theirs)
    said = site.reach(site.server, "up", "server").stderr
    assert (
        "warning: table inet theirs, chain forward: drops what it does not know: let wg0 through there"
        in said
    )
    site.reach(site.server, "down", "server")
    assert "table inet theirs" in site.server.run("nft", "list", "ruleset").stdout
    site.server.run("nft", "delete", "table", "inet", "theirs")
