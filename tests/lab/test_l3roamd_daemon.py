# SPDX-License-Identifier: ISC
"""l3roamd_py as it runs: real daemons on real nodes, a client that walks, and everything that may go wrong then."""

import json
import random
import select
import signal
import socket
import subprocess
import threading
import time

import pytest
from meshes import mesh_text
from talk import STALL_S, Talk
from waiting import wait_until

from sdk.lab.plan import ECHO
from xlat464.address import format_ipv6, format_mac, parse_ipv6
from xlat464.node import node_client_address

TRIANGLE = mesh_text("a=clat b=clat c=plat", "a-b b-c a-c", "phone=a", roaming="true")
SOCKET = "/var/run/l3roamd.sock"
NODES = ("a", "b", "c")
RESIDENT_KIB = 40 * 1024


@pytest.fixture(scope="module")
def mesh(lab_of):
    return lab_of(TRIANGLE)


@pytest.fixture
def lab(mesh):
    """The mesh with all of its daemons, and the phone at home and served there."""
    for node in NODES:
        if not mesh.running.daemons()[node].get("l3roamd"):
            start(mesh, node)
    if mesh.node_of("phone") != "a":
        mesh.roam("phone", "a")
    wait_until(lambda: works(mesh) and is_served(mesh, "a"), what="the phone being served at a")
    wait_until(lambda: known(mesh, "a")["has_token"], what="a token")
    if known(mesh, "b") is not None:  # from a test that broke off: the next one is to begin at the beginning
        end(mesh, "b", signal.SIGTERM)
        mesh.exec("b", ["l3roamd_py", "flush", *where(mesh)])
        start(mesh, "b")
    wait_until(lambda: is_routed(mesh, "b") and is_routed(mesh, "c"), what="babel telling where the phone is")
    return mesh


@pytest.fixture
def talk(lab):
    with Talk(lab, "phone", diagnosis) as made:
        yield made


def diagnosis(lab):
    """What the daemons counted and said, and where the platnode sends whom, for a failure."""
    counted = {node: status(lab, node).get("counters") for node in NODES}
    told = [f"{node}: {lab.running.log(node, 'l3roamd')}" for node in NODES]
    questions = (["cat", "/proc/net/nf_conntrack"], ["nft", "list", "table", "ip6", "l3roamd_plat"])
    kernel = [lab.exec("c", words, check=False).stdout for words in questions]
    return "\n".join([json.dumps(counted, indent=1), *told, *kernel])


def works(lab):
    """Whether a new connection goes through."""
    code = f"import socket; s = socket.create_connection(({ECHO!r}, 7), 2); s.send(b'x'); s.settimeout(2); s.recv(1)"
    return lab.exec("phone", ["python", "-c", code], check=False).returncode == 0


def status(lab, node):
    done = lab.exec(node, ["l3roamd_py", "status", "--json"], check=False)
    return json.loads(done.stdout) if done.returncode == 0 else {}


def known(lab, node):
    mac = format_mac(lab.client("phone").mac)
    return next((each for each in status(lab, node).get("clients", []) if each["mac"] == mac), None)


def is_served(lab, node):
    client = known(lab, node)
    return client is not None and client["state"] == "served" and client["ipv4"] == lab.lease("phone")


def roams(lab):
    return status(lab, "c").get("roams")


def address(lab):
    prefix = lab.site.node_client_prefix6.network_address.packed
    return format_ipv6(node_client_address(prefix, lab.client("phone").mac))


def has_address(lab, node):
    return address(lab) in lab.exec(node, ["ip", "-6", "addr", "show", "dev", "lo"]).stdout


def is_routed(lab, node):
    """Whether a node has babel's route to the node that serves the phone."""
    route = lab.exec(node, ["ip", "-6", "route", "get", "fibmatch", address(lab)], check=False).stdout
    return "proto babel" in route and "unreachable" not in route


def where(lab):
    """The options of `l3roamd_py flush` that say what a node's daemon was told."""
    prefix = str(lab.site.node_client_prefix6)
    return ["--client-device", lab.gateway_device, "--node-client-prefix", prefix]


def is_alone(lab, node):
    """Whether babel knows no way to any other node there."""
    routes = lab.exec(node, ["ip", "-6", "route", "show", "proto", "babel"]).stdout.splitlines()
    return all(route.startswith("unreachable") for route in routes)


def start(lab, node):
    lab.programs.start_l3roamd(lab.node(node))
    wait_until(lambda: status(lab, node), what=f"the daemon at {node}")


def pids(lab, node):
    return lab.running.daemons()[node].get("l3roamd", [])


def end(lab, node, number):
    lab.running.stop(node, "l3roamd", number)


def fresh_log(lab, node):
    return lab.exec(node, ["cat", lab.running.log_file(node, "l3roamd")]).stdout


def resident_kib(lab, node):
    (pid,) = pids(lab, node)
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


def test_a_client_is_found_with_its_lease_and_its_platnode_vouches_for_it(lab):
    client = known(lab, "a")
    assert client["ipv4"] == lab.lease("phone")
    assert 0 < client["lease_s"] <= lab.topology.settings.lease_s
    assert has_address(lab, "a")
    assert not has_address(lab, "b")
    (pid,) = pids(lab, "a")
    assert resident_kib(lab, "a") < RESIDENT_KIB, pid


def test_a_client_walks_and_its_connection_lives(lab, talk):
    talk.echo()
    for node in ("b", "a", "b", "a"):
        lab.roam("phone", node)
        assert talk.echo() < STALL_S
        wait_until(lambda node=node: is_served(lab, node), f"being served at {node}")
        assert bool(roams(lab)) == (node == "b")
    assert lab.lease("phone") == known(lab, "a")["ipv4"]


def test_a_client_that_leaves_without_a_word_is_taken_from_its_node(lab, talk):
    for node in ("b", "a", "b"):
        lab.roam("phone", node, hard=True)
        talk.echo()
    wait_until(lambda: is_served(lab, "b"), "being served at b")
    wait_until(lambda: known(lab, "a") is None, "forgetting at a")
    wait_until(lambda: not has_address(lab, "a"), "a giving the node-client address up")


def test_two_walks_within_a_moment_lose_nothing(lab, talk):
    for node in ("b", "a", "b", "a", "b"):
        lab.roam("phone", node)
    talk.echo()
    wait_until(lambda: is_served(lab, "b"), "being served at b")


def test_a_walk_to_a_new_node_with_a_new_lease_request_keeps_the_address(lab, talk):
    before = lab.lease("phone")
    lab.roam("phone", "b", renew=True)
    talk.echo()
    wait_until(lambda: is_served(lab, "b"), "being served at b")
    assert lab.lease("phone") == before
    talk.echo()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("node", NODES)
def test_a_daemon_that_ends_and_starts_again_is_noticed_by_nobody(lab, talk, node, number):
    lab.roam("phone", "b")
    talk.echo()
    wait_until(lambda: is_served(lab, "b"), "being served at b")
    before = roams(lab)
    end(lab, node, number)
    talk.echo()  # what is in the kernel serves on
    start(lab, node)
    talk.echo()
    assert is_served(lab, "b")
    places = [(each["home"], each["at"]) for each in before]
    assert [(each["home"], each["at"]) for each in roams(lab)] == places
    for there in ("a", "b"):
        lab.roam("phone", there)
        talk.echo()
        wait_until(lambda there=there: is_served(lab, there), f"being served at {there}")


def test_kills_at_random_moments_of_walks_leave_nothing_that_a_restart_does_not_mend(lab):
    """A roam whose platnode or old node is dead begins anew. The client works after the restart in each case."""
    chance = random.Random(464)
    for there in ("b", "a", "b", "a", "b", "a"):
        victim = chance.choice(NODES)
        killer = threading.Timer(chance.random() * 0.05, end, (lab, victim, signal.SIGKILL))
        killer.start()
        lab.roam("phone", there)
        killer.join()
        start(lab, victim)
        wait_until(lambda: works(lab), f"a new connection at {there}, {victim} was killed")
        wait_until(lambda there=there: is_served(lab, there), f"being served at {there}, {victim} was killed")
    wait_until(lambda: not has_address(lab, "b"), "b giving the node-client address up")
    assert has_address(lab, "a")


def test_a_client_that_walked_away_while_its_node_was_dead_is_given_up(lab):
    """Until then two nodes say that they have it."""
    lab.roam("phone", "b")
    wait_until(lambda: works(lab) and is_served(lab, "b"), "being served at b")
    wait_until(lambda: not has_address(lab, "a"), "a giving the node-client address up")
    end(lab, "b", signal.SIGKILL)
    lab.roam("phone", "a")
    wait_until(lambda: works(lab) and is_served(lab, "a"), "being served at a")
    start(lab, "b")
    wait_until(lambda: known(lab, "b") is None and not has_address(lab, "b"), "b forgetting it")
    assert is_served(lab, "a")
    with Talk(lab, "phone", diagnosis) as talk:
        for there in ("b", "a"):
            lab.roam("phone", there)
            talk.echo()


def test_a_client_that_walked_while_the_mesh_was_in_two_parts_is_given_up(lab):
    """Neither daemon has seen the other, or a client leave, and babel hides each from the other."""
    try:
        for link in ("a-b", "a-c"):
            lab.cut(link)
        lab.roam("phone", "b", hard=True)
        wait_until(lambda: is_alone(lab, "a"), "babel noticing at a")
        wait_until(lambda: works(lab) and is_served(lab, "b"), "being served at b")
        # until then it is in doubt, and what a tells, if it is reached soon enough, makes the phone's old home its own
        wait_until(lambda: has_address(lab, "b"), "b taking the phone's address")
        assert is_served(lab, "a")
    finally:
        for link in ("a-b", "a-c"):
            lab.heal(link)
    with Talk(lab, "phone", diagnosis) as talk:
        wait_until(
            lambda: known(lab, "a") is None and not has_address(lab, "a"), "a forgetting it", deadline_s=90
        )
        assert is_served(lab, "b")
        talk.echo()
        wait_until(lambda: is_routed(lab, "a"), "babel telling where the phone is")
        lab.roam("phone", "a")
        talk.echo()


def test_a_damaged_state_file_is_one_line_in_the_log(lab, talk):
    talk.echo()
    end(lab, "a", signal.SIGKILL)
    lab.exec("a", ["sh", "-c", 'echo \'{"format": 1, "core": {"version":\' >/var/run/l3roamd.state'])
    before = len(fresh_log(lab, "a"))
    start(lab, "a")
    lines = [line for line in fresh_log(lab, "a")[before:].splitlines() if "state" in line]
    assert len(lines) == 1, (lines, diagnosis(lab))
    assert "is damaged: starting without" in lines[0]
    assert is_served(lab, "a"), diagnosis(lab)  # the gate in the kernel says who was let in
    talk.echo()


LIES = ('{"format": 1, "boot": BOOT, "core": {"version": 1, "now_s": "x"}}', "[]", "\x00\xff", "")


@pytest.mark.parametrize("saved", LIES)
def test_a_state_file_that_lies_does_not_keep_the_daemon_from_starting(lab, saved):
    end(lab, "a", signal.SIGKILL)
    boot = lab.exec("a", ["cat", "/proc/sys/kernel/random/boot_id"]).stdout.strip()
    lab.exec("a", ["tee", "/var/run/l3roamd.state"], stdin=saved.replace("BOOT", json.dumps(boot)))
    start(lab, "a")
    assert is_served(lab, "a")


def test_a_second_daemon_says_who_is_there_and_ends(lab):
    done = lab.exec("a", lab.plan.l3roamd(lab.node("a")), check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert (
        line
        == f"l3roamd_py: another l3roamd_py uses {SOCKET}, expected none: end it, or choose another --socket"
    )


def test_the_client_bridge_may_be_made_anew(lab):
    """netifd does so when the configuration changes; what was tied to the device is tied again."""
    lab.roam("phone", "b")
    wait_until(lambda: is_served(lab, "b"), "being served at b")
    pinned = ["ip", "neigh", "show", "dev", lab.gateway_device, "nud", "permanent"]
    assert lab.lease("phone") in lab.exec("b", pinned).stdout
    port = lab.associations.cable("phone", "b").b.device
    lines = (lab.packages or lab.plan).node_lines(lab.node("b"))
    lines = [line for line in lines if line.startswith("ip ") and not line.endswith(" dev lo")]
    lab.script("b", [f"ip link del {lab.gateway_device}", *lines, f"ip link set {port} master br-client up"])
    wait_until(lambda: lab.lease("phone") in lab.exec("b", pinned).stdout, "the neighbour being tied again")
    lab.roam("phone", "a")
    wait_until(lambda: is_served(lab, "a"), "being served at a")
    lab.kill("b")
    lab.start("b")
    wait_until(lambda: status(lab, "b"), what="node b")


def flood(lab, node, target):
    """Garbage, and what looks like messages, to a node's port 5523: some thousands a second until killed."""
    code = (
        "import os, random, socket, sys, time\n"
        "s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)\n"
        "s.bind((sys.argv[2], 0))\n"
        "r = random.Random(1)\n"
        "while True:\n"
        "    time.sleep(0.001)\n"
        "    head = bytes((0, r.choice((0, 1, 255)), r.randrange(9), r.randrange(2))) + r.randbytes(20)\n"
        "    body = b''.join(bytes((r.randrange(9), r.choice((0, 1, 2, 8, 20, 255)))) + r.randbytes(r.randrange(40))"
        " for _ in range(r.randrange(5)))\n"
        "    for data in (head + body, r.randbytes(r.randrange(1, 1500)), b''):\n"
        "        try: s.sendto(data, (sys.argv[1], 5523))\n"
        "        except OSError: pass\n"
    )
    # not the address of its daemon, who would have used up what it may send
    return lab.popen(node, ["python", "-c", code, target, lab.plan.node_address(lab.node(node))])


def test_a_flood_of_garbage_neither_stops_nor_grows_the_daemon(lab, talk):
    before = resident_kib(lab, "b")
    floods = [flood(lab, node, status(lab, "b")["address"]) for node in ("c", "a")]
    try:
        for there in ("b", "a", "b", "a"):
            lab.roam("phone", there)
            talk.echo(60)
            wait_until(lambda there=there: is_served(lab, there), f"being served at {there}")
        wait_until(lambda: status(lab, "b")["counters"].get("datagrams_too_fast"), "flood that is too fast")
    finally:
        for each in floods:
            each.kill()
            each.wait()
    assert status(lab, "b")["counters"]["bugs"] == 0
    assert resident_kib(lab, "b") < min(before + 6 * 1024, RESIDENT_KIB)


def test_peers_of_the_socket_that_misbehave_keep_nobody_from_talking(lab):
    """Silent ones, slow ones, garbage, too many, and one that reads nothing."""
    code = (
        "import os, socket, sys, time\n"
        "peers = []\n"
        "for i in range(300):\n"
        "    s = socket.socket(socket.AF_UNIX); s.setblocking(False)\n"
        "    try: s.connect(sys.argv[1])\n"
        "    except OSError: time.sleep(0.01); continue\n"
        "    peers.append(s)\n"
        "    try: s.send((b'', b'get_sta', os.urandom(900), b'x' * 5000, b'get_status\\n' * 50)[i % 5])\n"
        "    except OSError: pass\n"
        "print('done', flush=True); time.sleep(60)\n"
    )
    crowd = lab.popen("a", ["python", "-c", code, SOCKET], stdout=subprocess.PIPE, text=True)
    try:
        assert select.select([crowd.stdout], [], [], 60)[0]
        begun_s = time.monotonic()
        assert is_served(lab, "a")
        assert time.monotonic() - begun_s < 30  # the crowd stays for 60
        assert status(lab, "a")["counters"]["bugs"] == 0
    finally:
        crowd.kill()
        crowd.wait()


def test_commands_come_in_the_order_in_which_they_were_sent(lab):
    """prefixd sends a line a connection and does not wait."""
    code = (
        "import socket, sys\n"
        "for i in range(400):\n"
        "    s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        "    s.send(b'set_platprefix fddd:1338:1338:0:0:%x::/96\\n' % (i + 1)); s.close()\n"
    )
    before = status(lab, "b")["current_plat"]
    lab.exec("b", ["python", "-c", code, SOCKET])
    assert status(lab, "b")["current_plat"] == format_ipv6(parse_ipv6(f"fddd:1338:1338:0:0:{400:x}::"))
    lab.exec("b", ["l3roamd_py", "ctl", "set_platprefix", f"{before}/96"])


def test_a_plat_of_no_platnode_is_refused(lab):
    before = status(lab, "b")["current_plat"]
    said = lab.exec("b", ["l3roamd_py", "ctl", "set_platprefix", "fe80::/96"], check=False)
    assert said.returncode == 1
    assert "fe80::/96 is no PLAT of this domain, expected one in fddd:1338:1338::/48" in said.stderr
    assert status(lab, "b")["current_plat"] == before


def test_the_scripts_of_the_c_daemon_go_on_working(lab):
    def ask(line):
        code = (
            "import socket, sys\n"
            "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.sendall(sys.argv[2].encode())\n"
            "s.shutdown(socket.SHUT_WR)\n"
            "while data := s.recv(4096): print(data.decode(), end='')\n"
        )
        return lab.exec("a", ["python", "-c", code, SOCKET, line]).stdout

    answer = ask("get_clients\n")
    mac, ipv4 = format_mac(lab.client("phone").mac), lab.lease("phone")
    assert answer.startswith('{ "clients": 1, "clientlist": { "')
    client = json.loads(answer)["clientlist"][mac]
    assert client["addresses"] == {f"::ffff:{ipv4}": {"state": 1}}
    assert client["interface"]
    assert json.loads(ask("get_prefixes"))["prefixes"][:2] == ["::ffff:0.0.0.0", "fe80::"]
    assert ask("add_prefix 2001:db8:5::/64\n") == "Added prefix: 2001:db8:5::/64"
    assert "2001:db8:5::" in json.loads(ask("get_prefixes"))["prefixes"]
    assert ask(f"add_address 2001:db8:5::7 {mac}\n") == "OK"
    assert f"2001:db8:5::7 dev {lab.gateway_device} proto 158" in lab.exec("a", ["ip", "-6", "route"]).stdout
    assert ask(f"del_address 2001:db8:5::7 {mac}\n") == "OK"
    assert "2001:db8:5::7" not in lab.exec("a", ["ip", "-6", "route"]).stdout
    assert ask("del_prefix 2001:db8:5::/64\n") == "Deleted prefix: 2001:db8:5::/64"
    meshifs = json.loads(ask("get_meshifs"))["mesh_interfaces"]
    assert ask("add_meshif mesh7\n") == ask("del_meshif mesh0\n") == ""
    assert json.loads(ask("get_meshifs"))["mesh_interfaces"] == [*(set(meshifs) - {"mesh0"}), "mesh7"]
    assert ask("add_meshif mesh0\n") == ask("del_meshif mesh7\n") == ""
    other = status(lab, "c")["address"]
    assert ask(f"has_route {other}\n").endswith(f"found route {other}/128: NO\n")
    assert ask("nonsense\n").startswith("error: 'nonsense' is no command")


def test_flush_leaves_nothing_behind(lab):
    def ours(node):
        rules = lab.exec(node, ["nft", "list", "tables"], check=False).stdout
        rules += lab.exec(node, ["iptables-save"], check=False).stdout
        neighbours = lab.exec(node, ["ip", "neigh", "show", "proto", "158"], check=False).stdout
        files = lab.exec(node, ["sh", "-c", "ls /run/l3roamd* 2>/dev/null"], check=False).stdout
        return [each for each in (*rules.split(), *files.split(), *neighbours.split()) if "l3roamd" in each]

    lab.roam("phone", "b")
    wait_until(lambda: is_served(lab, "b"), "being served at b")
    for node in NODES:
        assert ours(node)
        refused = lab.exec(node, ["l3roamd_py", "flush", *where(lab)], check=False)
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
        elsewhere = ["--socket", "/run/other.sock"]
        refused = lab.exec(node, ["l3roamd_py", "flush", *elsewhere, *where(lab)], check=False)
        assert "UDP port 5523" in refused.stderr, "a daemon with another socket is one as well"
        end(lab, node, signal.SIGTERM)
        lab.exec(node, ["l3roamd_py", "flush", *where(lab)])
        assert ours(node) == []
        assert not has_address(lab, node)
    for node in NODES:
        start(lab, node)


def test_a_taken_port_is_one_sentence(lab):
    end(lab, "b", signal.SIGKILL)
    code = "import socket; s = socket.socket(10, 2); s.bind(('::', 5523)); print(1, flush=True); input()"
    owner = lab.popen("b", ["python", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert owner.stdout.readline()
    try:
        done = lab.exec("b", lab.plan.l3roamd(lab.node("b")), check=False)
    finally:
        owner.kill()
        owner.wait()
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "UDP port 5523 cannot be ours (address in use)" in done.stderr
    assert socket.AF_INET6 == 10
