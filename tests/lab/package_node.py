# SPDX-License-Identifier: ISC
"""A node that has the packages' files and nothing else of ours in its root, for the tests of their services.

The root is this machine's with the unpacked packages over it, and sdk/openwrt in the place of OpenWrt's rc.common and
procd. Services run in a network of their own.

With OPENWRT_TREE=/path/to/openwrt the init scripts also run under OpenWrt's rc.common and procd.sh, up to what these
tell procd. OPENWRT_TOOLS=/prefix is where libubox, uci and jsonfilter are that were built for this machine.
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

from sdk.lab.machine import die_with_parent
from sdk.openwrt.node import configure, layers, mount, share

ROOT = Path(__file__).resolve().parents[2]
BASE = ["464xlat-common", "464xlat-page", "464xlat-plat", "464xlat-netlink", "464xlat-nft", "464xlat-xtables"]
NAMES = [*BASE, "prefixd", "prefixd-hosts", "siit", "python3-nat46", "python3-xlat464", "l3roamd-py"]
NAMES += ["gluon-464xlat-common", "gluon-464xlat-clat"]
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
SETUP = """
set -e
mount --make-rprivate /
{mount}
[ -z "{shell}" ] || mount --bind "{shell}" "$(readlink -f /bin/sh)"
mount -t proc proc /proc
ip link set lo up
ip link add wan type veth peer name internet
ip link set wan up
ip link set internet up
ip addr add 192.0.2.2/24 dev wan
ip route add default via 192.0.2.1 dev wan
echo ready
while :; do sleep 0.1; done  # and collect what has ended, as an init does
"""
OPENWRT, TOOLS = os.environ.get("OPENWRT_TREE"), os.environ.get("OPENWRT_TOOLS")
# what respondd does with a module
RESPONDD = """\
import ctypes
class Provider(ctypes.Structure):
    _fields_ = [("request", ctypes.c_char_p), ("make", ctypes.CFUNCTYPE(ctypes.c_void_p))]
json = ctypes.CDLL("libjson-c.so.5", mode=ctypes.RTLD_GLOBAL)
json.json_object_to_json_string.restype = ctypes.c_char_p
module = ctypes.CDLL("/usr/lib/respondd/gluon-464xlat-common.so")
provider = (Provider * 2).in_dll(module, "respondd_providers")[0]
print(json.json_object_to_json_string(ctypes.c_void_p(provider.make())).decode())
"""
UBUS = """#!/bin/sh
case "$*" in
'call service set'*) printf '%s\\n' "$4" >>/run/procd.calls ;;
*dump) echo '{"interface": [{"proto": "gluon_mesh", "up": true, "device": "mesh0"}]}' ;;
*) echo '{}' ;;
esac
"""
PREFIXD_LINE = "/run/procd/prefixd/instance1/command"
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/usr/include/json-c/json.h").exists(),
    reason="needs root, and the packages' build tools: apt-get install make libjson-c-dev",
)


class Node:
    """A node with the packages in its root."""

    config: str | None = CONFIG

    def __init__(self, folder: Path, shell: str):
        root, over = folder / "root", folder / "over"
        packages.unpack(NAMES, root)
        self.make_router(root)
        layers(root, over)
        site = next(root.glob("usr/lib/python3*/site-packages"))
        self.environment = {
            **os.environ,
            "PATH": f"/usr/sbin:{ROOT / '.venv/bin'}:/usr/bin:/sbin:/bin",
            "PYTHONPATH": f"/{site.relative_to(root)}",
            "LC_ALL": "C",
        }
        self.init = subprocess.Popen(
            [
                "unshare",
                "--mount",
                "--net",
                "--pid",
                "--fork",
                "--kill-child",
                "sh",
                "-c",
                SETUP.format(mount=mount(over, ROOT), shell=shell),
            ],
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=die_with_parent(os.getpid()),
        )
        assert self.init.stdout is not None
        assert self.init.stdout.readline() == "ready\n"
        children = Path(f"/proc/{self.init.pid}/task/{self.init.pid}/children")
        self.pid = children.read_text().split()[0]
        if self.config is not None:
            self.write(self.config)

    def make_router(self, root: Path) -> None:
        """Add more than the packages and what runs init scripts."""

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
            timeout=300,
        )
        assert not check or done.returncode == 0, done.stdout
        return done.stdout

    def write(self, config: str) -> None:
        self.file("/etc/config/464xlat").write_text(config)

    def file(self, path: str) -> Path:
        return Path(f"/proc/{self.pid}/root{path}")

    def wait(self, command: str, word: str, within_s: float = float(os.environ.get("WAIT_S", 300))) -> str:
        """Wait until a command prints a word. In `make test` this has a low priority, the node's programs too."""
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

    def start(self, check: bool = True) -> None:
        """What an image does at its start."""
        for service in ("siit", "464xlat", "prefixd", "l3roamd-py"):
            self(f"/etc/init.d/{service} enable && /etc/init.d/{service} boot", check)

    def command_line(self, service: str, instance: str = "instance1") -> list[str]:
        return self.file(f"/run/procd/{service}/{instance}/command").read_text().splitlines()

    def wait_for_no_own_plat(self) -> None:
        """Wait until prefixd is told of no PLAT of the node's own."""
        self.wait("grep -qs . $0 && ! grep -q own-plat $0 && echo gone".replace("$0", PREFIXD_LINE), "gone")

    def close(self) -> None:
        self.init.kill()
        self.init.wait()


class SiteNode(Node):
    """A node that is both, as the example site's upgrade scripts configure it."""

    config = None

    def make_router(self, root: Path) -> None:
        packages.unpack(["gluon-464xlat-plat"], root)
        (root / "etc/config/dhcp").write_text("config dnsmasq\n\toption domainneeded '1'\n")
        configure(root, (ROOT / "docs/site-example/site.conf").read_text(), "12:34:56:78:9a:bc")
        share(root)


class SlowNode(Node):
    """A node on which it takes long to tell others of a role, and to read a role's settings: a loaded one."""

    def make_router(self, root: Path) -> None:
        for path, text in (
            ("lib/464xlat/role.d/10-slow", '#!/bin/sh\n[ "$1" != changed ] || sleep 4\n'),
            ("usr/sbin/slow-xlat464", '#!/bin/sh\nsleep 0.2\nexec micropython -m xlat464 "$@"\n'),
        ):
            (root / path).write_text(text)
            (root / path).chmod(0o755)


class OpenWrt(Node):
    """A node with OpenWrt's own scripts, which tell a procd that only listens."""

    def make_router(self, root: Path) -> None:
        assert OPENWRT is not None
        assert TOOLS is not None
        base, tools = Path(OPENWRT) / "package/base-files/files", Path(TOOLS)
        shutil.copytree(base / "lib/functions", root / "lib/functions", dirs_exist_ok=True)
        shutil.copy(base / "lib/functions.sh", root / "lib")
        shutil.copy(base / "etc/rc.common", root / "etc")
        shutil.copy(Path(OPENWRT) / "package/system/procd/files/procd.sh", root / "lib/functions")
        shutil.copy(Path(OPENWRT) / "package/system/uci/files/lib/config/uci.sh", root / "lib/functions")
        (root / "lib/config").mkdir()
        shutil.copy(root / "lib/functions/uci.sh", root / "lib/config")
        shutil.copytree(tools / "share/libubox", root / "usr/share/libubox")
        for name in ("jshn", "uci", "jsonfilter"):
            program = root / "usr/sbin" / name
            program.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH={tools}/lib exec {tools}/bin/{name} "$@"\n')
            program.chmod(0o755)
        (root / "usr/sbin/ubus").write_text(UBUS)
        (root / "usr/sbin/ubus").chmod(0o755)

    def calls(self) -> list[dict]:
        """What procd was told."""
        file = self.file("/run/procd.calls")
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def need_ash(busybox: str) -> None:
    """Skip where busybox's shell takes its own programs before those of PATH, as no router's does."""
    said = subprocess.run([busybox, "sh", "-c", "ip -V"], capture_output=True, text=True)
    if "iproute2" not in said.stdout:
        pytest.skip("this busybox takes its own ip (busybox-static does): apt-get install busybox")


@pytest.fixture
def make_node(tmp_path):
    """A function that makes the test's node, with a shell in the place of this machine's; it ends with the test."""
    with contextlib.ExitStack() as stack:

        def make(shell="", kind=Node):
            if shell:
                need_ash(shell)
            made = kind(tmp_path, shell)
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture
def node(make_node):
    return make_node()


def is_up(status: str, role: str) -> bool:
    return any(line.split()[:2] == [role, "up"] for line in status.splitlines())
