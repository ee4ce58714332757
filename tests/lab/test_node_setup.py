# SPDX-License-Identifier: ISC
"""`464xlat clat|plat up|down` in machines of their own: what it refuses, makes, leaves behind, lets through.

A Machine is a process with its own network, mount and PID namespace and an empty /run, so the programs run
with the paths they have on a router, and all of it ends with the process, however the test run ends. The
traffic tests use the real siit; those about set-up alone a stand-in that makes a TUN device and no more.
"""

import contextlib
import itertools
import os
import re
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
FRONT_END = REPOSITORY / "files/464xlat/usr/sbin/464xlat"
SHELLS = {"dash": ["dash"], "busybox ash": ["busybox", "ash"]}
FIREWALLS = ("nft", "xtables-nft", "xtables-legacy")

UNSHARE = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces, which needs root"),
    pytest.mark.skipif(not shutil.which("busybox"), reason="needs busybox"),
]


class Machine:
    """A set of namespaces, held by a shell that ends when its stdin closes."""

    def __init__(self, name):
        self.name = name
        self.holder = subprocess.Popen(
            [
                *UNSHARE,
                "sh",
                "-c",
                "mount -t tmpfs tmpfs /run && ip link set lo up && echo ready && read -r _",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.holder.stdout.readline() == "ready\n"
        children = Path(f"/proc/{self.holder.pid}/task/{self.holder.pid}/children").read_text()
        self.pid = int(children.split()[0])
        self.started = []

    def words(self, command):
        words = command.split() if isinstance(command, str) else [str(word) for word in command]
        return ["nsenter", f"--target={self.pid}", "--net", "--mount", "--pid", f"--wd={REPOSITORY}", *words]

    def run(self, command, check=True, input=None, timeout=60, **variables):
        """Run a command (text is split at blanks); its CompletedProcess."""
        result = subprocess.run(
            self.words(command),
            input="" if input is None else input,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, **variables},
            start_new_session=True,
        )
        if check and result.returncode:
            raise AssertionError(f"{self.name}: {command}: {result.stdout}{result.stderr}")
        return result

    def output(self, command, **options):
        return self.run(command, **options).stdout

    def python(self, text, *arguments, **options):
        """Run a Python text; its stdout, stripped."""
        return self.output([sys.executable, "-c", textwrap.dedent(text), *arguments], **options).strip()

    def start(self, command, **variables):
        """Start a command and leave it running; it ends with the machine."""
        process = subprocess.Popen(
            self.words(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **variables},
        )
        self.started.append(process)
        return process

    def file(self, path, content, mode=0o644):
        self.run(
            ["sh", "-c", f'mkdir -p "$(dirname {path})" && cat >{path} && chmod {mode:o} {path}'],
            input=content,
        )

    def close(self):
        self.holder.stdin.close()
        self.holder.wait(10)
        self.holder.stdout.close()
        for process in self.started:
            process.wait(10)
            process.stdout.close()


@pytest.fixture
def machines():
    """A function that makes a Machine of a name."""
    with contextlib.ExitStack() as stack:

        def make(name):
            machine = Machine(name)
            stack.callback(machine.close)
            return machine

        yield make


def wait_for(condition, what, deadline_s=10):
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"no {what} within {deadline_s} s")


# --- set-up alone, with a stand-in for the translator -----------------------

RANGES = "--clat-range fddd:1337:1337::/48 --plat-range fddd:1337:1338::/48"
CLAT = f"{RANGES} --mac 12:34:56:78:9a:bc --client-range 10.126.0.0/16 --mesh-mtu 1374"
PLAT = f"{RANGES} --mac 12:34:56:78:9a:bc --pool 192.0.2.9/32 --wan wan --mesh-mtu 1374"
OPTIONS = {"clat": CLAT, "plat": PLAT}

STAND_IN = """\
#!/bin/sh
# siit ctl --socket PATH COMMAND
echo "$4" >>/run/siit/said
set -- $4
case "$1" in
add) ip tuntap add dev "$2" mode tun ;;
del) ip tuntap del dev "$2" mode tun ;;
config) [ ! -e /run/siit/sulks ] || { echo "error: not today" >&2; exit 1; } ;;
esac
"""


class Node:
    """A machine with br-client, wan and a stand-in for siit, and 464xlat on it."""

    def __init__(self, machine, shell="dash", firewall="nft"):
        self.machine, self.shell, self.firewall = machine, SHELLS[shell], firewall
        for device in ("br-client", "wan"):
            machine.run(f"ip link add {device} type bridge")
        machine.file("/run/bin/siit", STAND_IN, 0o755)
        machine.python(
            "import os, socket; os.makedirs('/run/siit', exist_ok=True);"
            "socket.socket(socket.AF_UNIX).bind('/run/siit/control.sock')"
        )
        self.variables = {
            "PATH": f"/run/bin:{os.environ['PATH']}",
            "SIIT": "/run/bin/siit",
            "XLAT464": f"{sys.executable} -m xlat464",
        }
        if firewall.startswith("xtables-"):
            for program, end in itertools.product(("iptables", "ip6tables"), ("", "-save", "-restore")):
                target = shutil.which(f"{program}-{firewall.removeprefix('xtables-')}{end}")
                machine.run(f"ln -s {target} /run/bin/{program}{end}")

    def xlat(self, command, check=True, **variables):
        role, *words = command.split() or [""]
        if words[:1] == ["up"]:
            words[1:1] = ["--firewall", self.firewall.split("-")[0]]
        return self.machine.run(
            [*self.shell, FRONT_END, role, *words], check=check, **{**self.variables, **variables}
        )

    def snapshot(self):
        """All that 464xlat could have changed, as one text."""
        return snapshot(self.machine, self.variables)


def snapshot(machine, variables=None):
    """Addresses, routes, rules, firewall and sysctls of a machine.

    Built-in chains and tables without a rule count as nothing: iptables makes them when it first looks.
    """
    variables = variables or {}
    text = ""
    for command in (
        "ip -d link",
        "ip address",
        "ip -4 route show table all",
        "ip -6 route show table all",
        "ip -4 rule",
        "ip -6 rule",
        "nft list ruleset",
        "iptables-legacy-save",
        "ip6tables-legacy-save",
        "iptables-nft-save",
        "ip6tables-nft-save",
        "sysctl -a -r ^net[.]",
        "ls -A /run/464xlat",
    ):
        said = machine.run(command, check=False, **variables).stdout
        said = re.sub(r"^(#.*|\*.*|COMMIT|:[A-Z]+ .*)\n", "", said, flags=re.M)
        said = re.sub(r"^\tchain [A-Z]+ \{\n\t\ttype .*\n\t\}\n", "", said, flags=re.M)
        said = re.sub(r"^\n", "", said, flags=re.M)
        said = re.sub(r"^table .* \{\n\}\n", "", said, flags=re.M)
        said = re.sub(r"^(net.netfilter.nf_conntrack_count|lock\b).*\n", "", said, flags=re.M)
        text += f"== {command}\n{said}"
    return text


@pytest.fixture
def node(machines):
    return Node(machines("node"))


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("firewall", FIREWALLS)
def test_down_removes_exactly_what_up_made(machines, shell, firewall):
    node = Node(machines("node"), shell, firewall)
    # the hardest start: forwarding on one device only, strict filtering, router advertisements in use
    node.machine.run("sysctl -w net.ipv6.conf.wan.forwarding=1 net.ipv4.conf.all.rp_filter=1")
    empty = node.snapshot()
    node.xlat(f"clat up {CLAT}")
    clat_only = node.snapshot()
    node.xlat("clat-route use")
    node.xlat(f"plat up {PLAT}")
    assert "SNAT" in node.snapshot() or "snat" in node.snapshot()
    node.xlat("plat down")
    node.xlat("clat-route stop")
    assert node.snapshot() == clat_only
    assert clat_only != empty
    node.xlat(f"plat up {PLAT}")
    node.xlat("clat down")
    assert node.machine.output("sysctl -n net.ipv6.conf.all.forwarding") == "1\n", "the PLAT still needs it"
    node.xlat("plat down")
    assert node.snapshot() == empty
    assert node.xlat("clat down").stderr == ""  # again: nothing to do, nothing said


def test_what_up_makes(node):
    node.xlat(f"clat up {CLAT}")
    node.xlat("clat-route use")
    node.xlat(f"plat up {PLAT}")
    ip = node.machine.output
    clat, plat = "fddd:1337:1337:1234:5678:9abc", "fddd:1337:1338:1234:5678:9abc"
    assert f"{clat}::/96 dev clat proto static" in ip("ip -6 route")
    assert f"{plat}::/96 dev plat proto static" in ip("ip -6 route")
    assert f"{clat}:c000:1/128" in ip("ip -6 address show dev clat")
    assert f"{plat}:c000:1/128" in ip("ip -6 address show dev plat")
    assert "fe80" not in ip("ip -6 address show dev clat")
    assert "mtu 1374" in ip("ip link show clat")
    assert re.match("192.0.2.9 dev plat proto static .*mtu lock 1354", ip("ip -4 route show 192.0.2.9"))
    assert re.match("default dev clat proto static .*mtu lock 1354", ip("ip -4 route show table 464"))
    assert re.findall(r"^46\d:\s+from all (.*\S)", ip("ip -4 rule"), re.M) == [
        "to 10.126.0.0/16 iif br-client lookup main",
        "iif br-client lookup 464",
        "iif br-client unreachable",
    ]
    assert ip("cat /run/siit/said").splitlines() == [
        "add clat",
        f"config clat local.v4 10.126.0.0/16 local.v6 {clat}::/96 local.style RFC6052",
        "add plat",
        f"config plat local.v4 0.0.0.0/0 local.v6 {plat}::/96 local.style RFC6052 "
        f"remote.v4 192.0.2.9/32 remote.v6 {plat}::/96 remote.style RFC6052",
    ]
    status = node.xlat("status").stdout.splitlines()
    assert [line.split()[:3] for line in status[1:]] == [["clat", "up", "clat"], ["plat", "up", "plat"]]
    assert "with an exit" in status[1]
    node.xlat("clat-route stop")
    node.xlat("clat-route stop")
    assert ip("ip -4 route show table 464") == ""
    assert "without an exit" in node.xlat("clat status").stdout


def test_up_again_changes_nothing_with_the_same_settings_and_all_with_others(node):
    node.xlat(f"clat up {CLAT}")
    node.xlat("clat-route use")
    before, said = node.snapshot(), node.machine.output("cat /run/siit/said")
    assert "it is, with these settings" in node.xlat(f"clat up {CLAT}").stdout
    assert (node.snapshot(), node.machine.output("cat /run/siit/said")) == (before, said)
    node.xlat(f"clat up {CLAT} --mesh-mtu 1400")
    assert "mtu 1400" in node.machine.output("ip link show clat")
    assert "32500" not in node.machine.output("ip rule")
    assert node.machine.output("cat /run/464xlat/clat.undo").count("translator_del") == 1


def test_up_again_repairs_what_somebody_removed(node):
    empty = node.snapshot()
    for role in ("clat", "plat"):
        node.xlat(f"{role} up {OPTIONS[role]}")
        whole = node.snapshot()
        node.machine.run(f"ip tuntap del dev {role} mode tun")
        assert "broken" in node.xlat(f"{role} status").stdout
        node.xlat(f"{role} up {OPTIONS[role]}")
        assert without_indices(node.snapshot()) == without_indices(whole)
        node.xlat(f"{role} down")
    assert node.snapshot() == empty


def without_indices(text):
    return re.sub(r"^\d+: ", "", text, flags=re.M)


def test_settings_may_be_variables_and_the_option_wins(node):
    variables = {
        "XLAT464_CLAT_RANGE": "fddd:1::/48",
        "XLAT464_MESH_MTU": "1300",
        "XLAT464_MAC": "12:34:56:78:9a:bc",
    }
    node.xlat("clat up --plat-range=fddd:2::/48 --client-range 10.0.0.0/8 --mesh-mtu 1310", **variables)
    assert "fddd:1:0:1234:5678:9abc::/96" in node.machine.output("ip -6 route")
    assert "mtu 1310" in node.machine.output("ip link show clat")


BAD_INPUT = [
    ("clat up --mac 13:34:56:78:9a:bc", "13:34:56:78:9a:bc is a multicast MAC"),
    ("clat up --mac 12:34:56:78:9a", "'12:34:56:78:9a' is not a MAC address"),
    ("clat up --mac=", "--mac is missing"),
    ("clat up --clat-range fddd:1337:1337::/64", "is a /64, expected a /48"),
    ("clat up --clat-range fddd:1337:1338::/48", "both fddd:1337:1338::/48, expected two different ones"),
    ("clat up --clat-range", "--clat-range needs a value behind it"),
    ("clat up --client-range 10.126.0.1/16", "has bits set behind its length, expected 10.126.0.0/16"),
    ("clat up --client-range 224.0.0.0/8", "expected addresses that hosts may have"),
    ("clat up --client-device br-guest", "there is no device 'br-guest'"),
    ("clat up --device wan", "there is a device 'wan' already and it is not ours"),
    ("clat up --device a/b", "'a/b' is no device name"),
    ("clat up --device abcdefghijklmnop", "is no device name, expected at most 15"),
    ("clat up --mesh-mtu 1279", "'1279' is no number that fits, expected 1280 to 65535"),
    ("clat up --mesh-mtu 01400", "'01400' is no number that fits"),
    ("clat up --mesh-mtu 1400;reboot", "'1400;reboot' is no number that fits"),
    ("clat up --table 254", "254 is the kernel's own"),
    ("clat up --target /run/nothing", "there is no translator at /run/nothing"),
    ("clat up --target siit", "'siit' is no path"),
    ("clat up --firewall pf", "'pf' is no choice, expected one of auto nft xtables none"),
    ("clat up --pool 192.0.2.9/32", "'--pool' is no option, expected one of --clat-range"),
    ("clat up extra", "'extra' is no option"),
    ("plat up --pool 10.126.7.0/24 --client-range 10.126.0.0/16", "overlaps the client range 10.126.0.0/16"),
    ("plat up --pool 127.0.0.1/32", "overlaps 127.0.0.0/8"),
    ("plat up --pool=", "--pool is missing"),
    ("plat up --ports 2000-1000", "'2000-1000' is no range of ports"),
    ("plat up --ports 1000-65536", "'1000-65536' is no range of ports"),
    ("plat up --ports 1000", "'1000' is no range of ports"),
    ("plat up --wan=", "--wan is missing"),
    ("plat up --wan plat", "names the PLAT's own device"),
    ("plat up --wan wan,", "is no list of devices"),
    ("plat up --wan w{an", "'w{an' is no device name"),
    ("plat up --firewall none", "'none' is no choice"),
    ("plat up --device br-client", "there is a device 'br-client' already"),
    ("clat-route use", "the CLAT is not up"),
    ("clat-route maybe", "'maybe' is nothing that clat-route does"),
    ("clat sideways", "'sideways' is nothing that clat does"),
    ("up", "'up' is no command"),
    ("clat down now", "'now' is no option"),
    ("babel-config --clat-range fddd:1::/48", "--plat-range is missing"),
]


@pytest.mark.parametrize("shell", SHELLS)
def test_bad_input_is_one_sentence_and_changes_nothing(machines, shell):
    node = Node(machines("node"), shell)
    empty = node.snapshot()
    for command, sentence in BAD_INPUT:
        role, *rest = command.split()
        if rest[:1] == ["up"]:
            command = f"{role} up {OPTIONS[role]} {' '.join(rest[1:])}"
        result = node.xlat(command, check=False)
        assert result.returncode in (1, 2), command
        assert sentence in result.stderr, command
        assert result.stderr.count("\n") == 1, result.stderr
    assert node.snapshot() == empty


def test_bad_input_leaves_a_running_role_alone(node):
    node.xlat(f"clat up {CLAT}")
    node.xlat("clat-route use")
    before = node.snapshot()
    for options in ("--mesh-mtu 100", "--device wan", "--mac 13:00:00:00:00:00", "--target /run/nothing"):
        assert node.xlat(f"clat up {CLAT} {options}", check=False).returncode == 1
    node.machine.run("ip -4 route add 10.9.0.0/16 dev lo table 500")
    assert "table 500 has routes" in node.xlat(f"clat up {CLAT} --table 500", check=False).stderr
    node.machine.run("ip -4 route flush table 500")
    assert node.snapshot() == before


# counts what would change something, and does the injury at the n-th
SABOTAGE = """\
#!/bin/sh
case "$*" in
*" add "* | *" set "* | *-f* | *-n*)
	n=$(cat /run/count)
	echo $((n - 1)) >/run/count
	if [ "$n" = 1 ]; then
		{injury}
	fi
	;;
esac
exec {program} "$@"
"""


@pytest.mark.parametrize("role", ["clat", "plat"])
@pytest.mark.parametrize("firewall", ["nft", "xtables-nft"])
@pytest.mark.parametrize("injury", ["echo no >&2; exit 1", "kill -9 0", "kill -TERM $(cat /run/shell)"])
def test_an_up_that_fails_or_dies_anywhere_leaves_nothing_behind(machines, role, firewall, injury):
    node = Node(machines("node"), "dash", firewall)
    empty = node.snapshot()
    programs = ["nft"] if firewall == "nft" else ["iptables-nft-restore", "ip6tables-nft-restore"]
    for program in ["ip", *programs]:
        name = program.replace("-nft", "")
        node.machine.run(f"rm -f /run/bin/{name}")
        node.machine.file(
            f"/run/bin/{name}", SABOTAGE.format(program=shutil.which(program), injury=injury), 0o755
        )
    command = f"{FRONT_END} {role} up {OPTIONS[role]} --firewall {firewall.removesuffix('-nft')}"
    steps = 0
    while True:
        steps += 1
        assert steps < 40
        node.machine.file("/run/count", str(steps))
        result = node.machine.run(
            ["sh", "-c", f"echo $$ >/run/shell; exec {command}"], check=False, **node.variables
        )
        if result.returncode == 0:
            break
        if "-9" in injury:
            node.machine.file("/run/count", "999")
            node.xlat(f"{role} down")  # which takes over what was left
        assert node.snapshot() == empty, f"after the failure of step {steps}: {result.stderr}"
    assert steps > 6
    node.xlat(f"{role} down")
    assert node.snapshot() == empty


def test_a_translator_that_refuses_is_quoted_and_nothing_stays(node):
    empty = node.snapshot()
    node.machine.file("/run/siit/sulks", "")
    result = node.xlat(f"clat up {CLAT}", check=False)
    assert result.returncode == 1
    assert "error: not today" in result.stderr
    assert node.snapshot() == empty


def test_down_works_when_the_translator_is_gone(node):
    empty = node.snapshot()
    node.xlat(f"clat up {CLAT}")
    node.machine.run("rm /run/siit/control.sock /run/bin/siit")
    node.xlat("clat down")
    assert node.snapshot() == empty


def test_a_kernel_target_gets_one_write_a_command_and_a_smaller_mtu(node):
    """/proc/net/nat46/control is played by a file; the device is made beforehand by who plays nat46."""
    node.machine.file("/run/control", "")
    node.machine.file(
        "/run/bin/ip",
        '#!/bin/sh\n[ "$*" != "link show dev clat" ] || [ ! -s /run/control ] || [ -e /run/made ] ||'
        " { touch /run/made; /usr/bin/env -u PATH true; "
        + shutil.which("ip")
        + " tuntap add dev clat mode tun; }\n"
        f'exec {shutil.which("ip")} "$@"\n',
        0o755,
    )
    node.xlat(f"clat up {CLAT} --target /run/control")
    node.xlat("clat-route use")
    assert "mtu lock 1346" in node.machine.output("ip -4 route show table 464")
    # the file holds the last write only, as each opens it anew
    assert node.machine.output("cat /run/control").startswith("config clat local.v4 10.126.0.0/16 local.v6 ")


def test_two_at_a_time_take_turns(node):
    empty = node.snapshot()
    words = [*node.shell, str(FRONT_END)]
    ups = [
        node.machine.start([*words, *f"{role} up {OPTIONS[role]}".split()], **node.variables)
        for role in ("clat", "plat", "clat", "plat")
    ]
    for up in ups:
        assert up.wait(20) == 0, up.stdout.read()
    assert node.machine.output("nft list tables").count("xlat464") == 2
    node.xlat("clat down")
    node.xlat("plat down")
    assert node.snapshot() == empty


def test_help_names_every_option(node):
    said = node.xlat("--help").stdout
    for options in OPTIONS.values():
        for option in re.findall("--[a-z-]+", options):
            assert option in said
