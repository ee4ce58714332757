# SPDX-License-Identifier: ISC
"""What tests of a node's set-up use: machines of their own, and 464xlat on them.

A Machine is a process with its own network, mount and PID namespace and an empty /run. So programs use the same paths
as on a router, and everything ends with the process, however the test run ends. Where packets count the translator is
the real siit; for what is about set-up alone, a stand-in makes a TUN device and no more.
"""

import contextlib
import itertools
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from sdk.timeouts import TIMEOUT_SCALE

REPOSITORY = Path(__file__).resolve().parents[2]
FRONT_END = REPOSITORY / "files/464xlat/usr/sbin/464xlat"
SIIT = f"{sys.executable} -m siit"
SHELLS = {"dash": ["dash"], "busybox ash": ["busybox", "ash"]}
FIREWALLS = ("nft", "xtables-nft", "xtables-legacy")
BESIDE = (
    "xtables-legacy+nft"  # an image with iptables: its roles have iptables, its roams the kernel's nf_tables
)
EITHER_KIND = ("nft", "xtables-legacy")  # where it is the kernel that is asked, not the two iptables
RANGES = "--clat-range fddd:1337:1337::/48 --plat-range fddd:1337:1338::/48"
CLAT = f"{RANGES} --mac 12:34:56:78:9a:bc --client-range 10.126.0.0/16 --mesh-mtu 1374"
PLAT = f"{RANGES} --mac 12:34:56:78:9a:bc --pool 192.0.2.9/32 --wan wan --mesh-mtu 1374"
OPTIONS = {"clat": CLAT, "plat": PLAT}
UNSHARE = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]

NEEDS = [  # what a test module's pytestmark is
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces, which needs root"),
    pytest.mark.skipif(not shutil.which("busybox"), reason="needs busybox"),
]

STAND_IN = """\
#!/bin/sh
# siit ctl --socket PATH COMMAND
[ "$1" = ctl ] || exit 0
echo "$4" >>/run/siit/said
set -- $4
case "$1" in
add) ip link add dev "$2" address 02:00:00:00:04:64 type ifb ;; # with a carrier, as a TUN that somebody reads
del) ip link del dev "$2" ;;
config) [ ! -e /run/siit/sulks ] || { echo "error: not today" >&2; exit 1; } ;;
esac
"""


class Machine:
    """A set of namespaces, held by a shell that ends when its stdin closes."""

    def __init__(self, name):
        self.name = name
        self.init = subprocess.Popen(
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
        assert self.init.stdout.readline() == "ready\n"
        children = Path(f"/proc/{self.init.pid}/task/{self.init.pid}/children").read_text()
        self.pid = int(children.split()[0])
        self.started = []

    def words(self, command):
        words = command.split() if isinstance(command, str) else [str(word) for word in command]
        return ["nsenter", f"--target={self.pid}", "--net", "--mount", "--pid", f"--wd={REPOSITORY}", *words]

    def run(self, command, check=True, input=None, timeout=60 * TIMEOUT_SCALE, **variables):
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
        self.init.stdin.close()
        self.init.wait(60 * TIMEOUT_SCALE)
        self.init.stdout.close()
        for process in self.started:
            process.wait(60 * TIMEOUT_SCALE)
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


def link(one, device, other, other_device, mtu=1500):
    """Join two machines by a pair of devices."""
    # entering the network only: the other machine's process has its number outside of the PID namespaces
    add = f"ip link add {device} mtu {mtu} type veth peer name {other_device} mtu {mtu} netns {other.pid}"
    subprocess.run(["nsenter", f"--target={one.pid}", "--net", *add.split()], check=True)


def address(machine, device, *addresses):
    machine.run(f"ip link set {device} up")
    for each in addresses:
        machine.run(f"ip address add {each} dev {device}" + (" nodad" if ":" in each else ""))


class Node:
    """A machine with 464xlat on it, run by one of the shells, with one of the firewalls."""

    def __init__(self, machine, shell="dash", firewall="nft", siit="/run/bin/siit"):
        self.machine, self.shell = machine, SHELLS[shell]
        self.firewall, _, rules = firewall.partition("+")
        self.rules = rules or self.firewall.split("-")[0]  # the backend of roams
        machine.run("mkdir -p /run/bin")
        self.variables = {
            "PATH": f"/run/bin:{os.environ['PATH']}",
            "SIIT": siit,
            "XLAT464": f"{sys.executable} -S -m xlat464",
        }
        if self.firewall.startswith("xtables-"):
            for program, end in itertools.product(("iptables", "ip6tables"), ("", "-save", "-restore")):
                target = shutil.which(f"{program}-{self.firewall.removeprefix('xtables-')}{end}")
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

    Built-in chains and tables without a rule count as nothing: iptables makes them when it first looks. Nor does what
    comes by itself: the kernel finds out about carriers once a second, for all of its namespaces.
    """
    variables = variables or {}
    text = ""
    for command in (
        "ip link",
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
    return re.sub(r" state (UP|DOWN|UNKNOWN)|NO-CARRIER,|,LOWER_UP| linkdown| tentative", "", text)


def stand_in_node(machine, shell="dash", firewall="nft"):
    """A Node with br-client, wan, and a stand-in for siit."""
    for device in ("br-client", "wan"):
        machine.run(f"ip link add {device} type bridge")
    machine.file("/run/bin/siit", STAND_IN, 0o755)
    machine.python(
        "import os, socket; os.makedirs('/run/siit', exist_ok=True);"
        "socket.socket(socket.AF_UNIX).bind('/run/siit/control.sock')"
    )
    return Node(machine, shell, firewall)


@pytest.fixture
def node(machines):
    return stand_in_node(machines("node"))
