# SPDX-License-Identifier: ISC
"""The packages' services, on a node that has the packages' files and nothing else of ours in its root.

The root is this machine's with the unpacked packages over it, and sdk/openwrt in the place of OpenWrt's rc.common and
procd. Services run in a network of their own.
"""

import contextlib
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import packages
import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["464xlat-common", "prefixd", "siit", "python3-nat46", "l3roamd-py"]
CONFIG = """\
config node 'node'
	option clat_range 'fddd:1337:1337::/48'
	option plat_range 'fddd:1338:1338::/48'
	option client_range '10.46.0.0/16'
	option mac '12:34:56:78:9a:bc'
	option mesh_mtu '1374'
	option firewall 'auto'
config clat 'clat'
	option enabled '1'
	option device 'clat'
	option client_device 'br-client'
	option table '464'
config plat 'plat'
	option enabled '1'
	option pool '192.168.223.8/30'
	list wan 'wan'
config prefixd 'prefixd'
	option babel '/run/no-babeld'
	option margin '64'
config roaming 'roaming'
	option node_client_prefix 'fd00:1234:5678:9abc::/64'
	list prefix 'fd46:4646:4646::/64'
"""
# overlay of the unpacked packages; /etc and /run are the node's own, to write to
SETUP = """
set -e
mount --make-rprivate /
mount -t overlay -o lowerdir={over}/usr:/usr overlay /usr
mount -t overlay -o lowerdir={over}/etc:/etc,upperdir={over}/etc-upper,workdir={over}/etc-work overlay /etc
mount -t tmpfs tmpfs /run
[ -z "{shell}" ] || mount --bind "{shell}" "$(readlink -f /bin/sh)"
mount -t proc proc /proc
rm -f /etc/init.d/babeld  # this machine's
ip link set lo up
ip link add wan type veth peer name internet
ip link set wan up
echo ready
while :; do sleep 0.1; done  # and collect what has ended, as an init does
"""
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/usr/include/json-c/json.h").exists(),
    reason="needs root, and the packages' build tools: apt-get install make libjson-c-dev",
)


class Node:
    """A node with the packages in its root."""

    def __init__(self, folder: Path, shell: str):
        root, over = folder / "root", folder / "over"
        packages.unpack(NAMES, root)
        shutil.copytree(ROOT / "sdk/openwrt/root", root, dirs_exist_ok=True)
        for sub in ("etc-upper", "etc-work", "usr"):
            (over / sub).mkdir(parents=True)
        # /lib is /usr/lib on this machine
        shutil.copytree(root / "usr", over / "usr", dirs_exist_ok=True)
        shutil.copytree(root / "lib", over / "usr/lib", dirs_exist_ok=True)
        shutil.copytree(root / "etc", over / "etc")
        site = next(root.glob("usr/lib/python3*/site-packages"))
        self.environment = {
            **os.environ,
            "PATH": f"/usr/sbin:{ROOT / '.venv/bin'}:/usr/bin:/sbin:/bin",
            "PYTHONPATH": f"/{site.relative_to(root)}",
            "LC_ALL": "C",
        }
        self.holder = subprocess.Popen(
            [
                "unshare",
                "--mount",
                "--net",
                "--pid",
                "--fork",
                "--kill-child",
                "sh",
                "-c",
                SETUP.format(over=over, shell=shell),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.holder.stdout is not None
        assert self.holder.stdout.readline() == "ready\n"
        children = Path(f"/proc/{self.holder.pid}/task/{self.holder.pid}/children")
        self.pid = children.read_text().split()[0]
        self.write(CONFIG)

    def __call__(self, command: str, check: bool = True) -> str:
        """Run a line of shell on the node; return what it prints."""
        done = subprocess.run(
            ["nsenter", "-t", self.pid, "-m", "-n", "-p", "sh", "-c", command],
            env=self.environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
        assert not check or done.returncode == 0, done.stdout
        return done.stdout

    def write(self, config: str) -> None:
        self.file("/etc/config/464xlat").write_text(config)

    def file(self, path: str) -> Path:
        return Path(f"/proc/{self.pid}/root{path}")

    def wait(self, command: str, word: str, within_s: float = 60) -> str:
        """Wait until a command prints a word."""
        end = time.monotonic() + within_s
        while True:
            said = self(command, check=False)
            if word in said:
                return said
            assert time.monotonic() < end, f"{command}: no {word!r} within {within_s} s, but {said}"
            time.sleep(0.2)

    def add_clients(self) -> None:
        self(
            "ip link add br-client type bridge && ip addr add 10.46.0.1/16 dev br-client; ip link set br-client up"
        )

    def start(self) -> None:
        """What an image does at its start."""
        for service in ("siit", "464xlat", "prefixd", "l3roamd-py"):
            self(f"/etc/init.d/{service} enable && /etc/init.d/{service} boot")

    def command_line(self, service: str, instance: str = "instance1") -> list[str]:
        return self.file(f"/run/procd/{service}/{instance}/command").read_text().splitlines()

    def close(self) -> None:
        self.holder.kill()
        self.holder.wait()


@pytest.fixture
def make_node(tmp_path):
    """A function that makes the test's node, with a shell in the place of this machine's; it ends with the test."""
    with contextlib.ExitStack() as stack:

        def make(shell=""):
            made = Node(tmp_path, shell)
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture
def node(make_node):
    return make_node()


def is_up(status: str, role: str) -> bool:
    return any(line.split()[:2] == [role, "up"] for line in status.splitlines())


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
    node.wait("ip -4 route show table 464", "default dev clat", within_s=30)


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
    assert "plat  down" in node("464xlat status")
    assert "--own-plat" not in node.command_line("prefixd")
    assert node("ip -o link show clat").split(":")[0] == clat.split(":")[0]


def test_what_is_missing_is_told_and_waited_for(node):
    node.start()
    said = node.wait("/etc/init.d/464xlat status", "clat up: ")
    assert "br-client" in said
    node.add_clients()
    node.wait("464xlat status", "clat  up")
    assert "clat up: " not in node("/etc/init.d/464xlat status")


@pytest.mark.parametrize(
    "config", ["", "config\n", CONFIG.replace("fddd:1337:1337::/48", "$(touch /run/owned)"), CONFIG[:150]]
)
def test_a_spoiled_configuration_leaves_the_node_as_it_is(node, config):
    node.add_clients()
    node.write(config)
    kernel = "ip -4 addr; ip -6 addr show scope global; ip -6 route | grep -v fe80; ip rule"
    before = node(kernel)
    node.start()
    node("/etc/init.d/464xlat status", check=False)
    time.sleep(1)
    assert node(kernel) == before
    assert not node.file("/run/owned").exists()


def test_a_babeld_of_openwrts_gets_a_drop_in_once(node):
    node.add_clients()
    node.file("/etc/config/babeld").write_text("config general\n\toption conf_dir '/run/babeld.d'\n")
    script = node.file("/etc/init.d/babeld")
    script.write_text("#!/bin/sh\n[ $1 = enabled ] || echo $1 >>/run/babeld.calls\n")
    script.chmod(0o755)
    for service in ("siit", "464xlat"):
        node(f"/etc/init.d/{service} boot")
    node.wait("cat /run/babeld.d/464xlat.conf", "fddd:1338:1338::/48 eq 96 allow")
    assert node("cat /run/babeld.d/464xlat.conf").splitlines() == [
        "local-port 33123",
        "redistribute ip fddd:1337:1337::/48 eq 96 allow",
        "redistribute ip fddd:1338:1338::/48 eq 96 allow",
    ]
    node.wait("464xlat status", "plat  up")
    node.wait("464xlat status", "clat  up")
    node("/etc/init.d/464xlat reload")
    node.wait("cat /run/babeld.calls", "reload")
    assert node("sort -u /run/babeld.calls") == "reload\n"


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
    node("/etc/init.d/l3roamd-py flush")
    for service in ("prefixd", "464xlat", "siit"):
        node(f"/etc/init.d/{service} stop")
    left = node(kernel)
    assert set(left.splitlines()) <= set(before.splitlines()), left
    assert "inactive" in node("/etc/init.d/prefixd status", check=False)
