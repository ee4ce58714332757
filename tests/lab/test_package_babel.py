# SPDX-License-Identifier: ISC
"""gluon-464xlat-babel on a node whose mesh devices come and go, with a real babeld.

Two lines of shell stand in for netifd and jsonfilter: they print the devices in a file.
"""

import contextlib
import json
import shutil
from pathlib import Path

import packages
import pytest
from package_node import CONFIG, RESPONDD, Node, is_up, pytestmark
from waiting import wait_until

SERVICE = "/etc/init.d/gluon-464xlat-babel"
BABEL = """\
config babel 'babel'
	option clat_range 'fddd:1337:1337::/48'
	option plat_range 'fddd:1338:1338::/48'
	list routes 'fd46:4646:4646::/64'
	list addresses 'fd46:4646:4646:1::/64'
	list addresses 'fd00:1234:5678:9abc::/64'
"""
DUMP = r'printf "dump\nquit\n" | timeout 60 busybox nc ::1 33123'


class BabelNode(Node):
    def make_router(self, root: Path) -> None:
        super().make_router(root)
        packages.unpack(["gluon-464xlat-babel"], root)
        for name, text in (
            ("ubus", ""),
            ("jsonfilter", "cat >/dev/null; cat /run/mesh-devices"),
            ("logger", "echo $* >&2"),
            ("nc", "[ ! -e /run/deaf ] || exec cat /run/deaf\nexec busybox nc $*"),
        ):
            (root / "usr/sbin" / name).write_text(f"#!/bin/sh\n{text}\n")
            (root / "usr/sbin" / name).chmod(0o755)

    def mesh(self, *devices: str) -> None:
        self.file("/run/mesh-devices").write_text("".join(f"{device}\n" for device in devices))
        self(f"{SERVICE} reload")

    def dump(self) -> str:
        """What babeld says of itself."""
        return self(DUMP)

    def interfaces(self) -> list[str]:
        """The addresses of mesh devices that respondd tells, without MACs: what has none is this machine's /sys."""
        program = RESPONDD.replace("-common", "-babel")
        told = json.loads(self(f"python3 -c '{program}'"))["network"]["mesh"]["babel"]["interfaces"]
        return [
            address for kind in told.values() for address in kind if len(address) > len("00:00:00:00:00:00")
        ]

    def diagnostics(self) -> str:
        """What both nodes' babelds, kernels and services say, for a failure."""
        kernel = "ip addr; ip -6 route; ip -s link show type veth"
        parts = []
        for where in ("", "nsenter -t $(cat /run/far.pid) -n "):
            parts += [self(f"{where}sh -c '{words}' 2>&1", check=False) for words in (DUMP, kernel)]
        logs = [self(f"cat {log} 2>&1", check=False) for log in ("/run/far.log", "/run/procd.log")]
        return "\n---\n".join([*parts, *logs])

    def wait_without(self, word: str) -> None:
        """Wait until babeld says no such thing of itself, but the rest."""
        wait_until(lambda: word not in (said := self.dump()) and "ok" in said, f"dump without {word!r}")


@pytest.fixture
def node(tmp_path):
    with contextlib.ExitStack() as stack:
        made = BabelNode(tmp_path, "")
        stack.callback(made.close)
        made.write(CONFIG + BABEL)
        for number in range(3):
            made(f"ip link add mesh{number} type veth peer name far{number}; ip link set mesh{number} up")
        made("ip link add mesh-vpn type bridge; ip link set mesh-vpn up")
        yield made


@pytest.mark.skipif(shutil.which("babeld") is None, reason="no babeld: apt-get install babeld")
def test_babeld_hears_of_mesh_devices_as_they_come_and_go(node):
    node.file("/run/mesh-devices").write_text("")
    node(f"{SERVICE} enable && {SERVICE} boot")
    assert node(f"{SERVICE} running || echo not yet") == "not yet\n"  # babeld ends at once without a device
    node.mesh("mesh0", "mesh1")
    said = node.wait("printf 'dump\\nquit\\n' | timeout 5 busybox nc ::1 33123", "add interface mesh1")
    assert "add interface mesh0" in said
    assert "mesh2" not in said
    node("ip link set far0 up; ip link set far1 up")
    told = wait_until(lambda: len(told := node.interfaces()) == 2 and told, "two link-local addresses")
    assert all(address.startswith("fe80::") for address in told)
    pid = node.file("/run/procd/gluon-464xlat-babel/instance1/pid").read_text()
    node.mesh("mesh1", "mesh2", "mesh-vpn")
    node.wait_without("add interface mesh0")
    said = node.dump()
    assert "add interface mesh1" in said
    assert "add interface mesh2" in said
    assert "add interface mesh-vpn" in said
    assert node.file("/run/procd/gluon-464xlat-babel/instance1/pid").read_text() == pid
    config = node("cat /var/etc/gluon-464xlat-babel.conf")
    assert "interface mesh-vpn type tunnel" in config
    assert "mesh0" not in config
    node.mesh()
    node.wait_without("add interface")


@pytest.mark.skipif(shutil.which("babeld") is None, reason="no babeld: apt-get install babeld")
@pytest.mark.parametrize("answer", ["", "BABEL 1.0\nok\nbad\n"], ids=["none", "bad"])
def test_a_babeld_that_does_not_take_a_device_is_started_anew_with_it(node, answer):
    node.file("/run/mesh-devices").write_text("mesh0\n")
    node(f"{SERVICE} enable && {SERVICE} boot")
    node.wait("printf 'dump\nquit\n' | timeout 5 busybox nc ::1 33123", "ok")
    pid = node.file("/run/procd/gluon-464xlat-babel/instance1/pid").read_text()
    node.file("/run/deaf").write_text(answer)
    node.mesh("mesh0", "mesh1")
    node.wait("printf 'dump\nquit\n' | timeout 5 busybox nc ::1 33123", "add interface mesh1")
    node.file("/run/deaf").unlink()
    assert node.file("/run/procd/gluon-464xlat-babel/instance1/pid").read_text() != pid
    pid = node.file("/run/procd/gluon-464xlat-babel/instance1/pid").read_text()
    node.mesh("mesh1", "mesh2")
    node.wait("printf 'dump\nquit\n' | timeout 5 busybox nc ::1 33123", "add interface mesh2")
    assert node.file("/run/procd/gluon-464xlat-babel/instance1/pid").read_text() == pid


@pytest.mark.skipif(shutil.which("babeld") is None, reason="no babeld: apt-get install babeld")
def test_a_nodes_prefixes_are_announced_and_its_other_addresses_are_not(node):
    node.file("/run/mesh-devices").write_text("mesh0\n")
    node(
        "ip -6 addr add fd46:4646:4646:1::7/128 dev lo nodad; ip -6 addr add fd46:4646:4646::1/128 dev lo nodad;"
        "ip -6 route add fddd:1338:1338:1::/96 dev mesh1 proto static; ip -6 route add fd46:4646:4646::9/128 dev mesh1;"
        "ip -6 route add fddd:1338:1338:2::/64 dev mesh1 proto static"
    )
    node(f"{SERVICE} boot")
    said = node.wait("printf 'dump\\nquit\\n' | timeout 5 busybox nc ::1 33123", "add xroute")
    said = node.wait("printf 'dump\\nquit\\n' | timeout 5 busybox nc ::1 33123", "fddd:1338:1338:1::/96")
    assert "fd46:4646:4646:1::7/128" in said
    assert "fd46:4646:4646::1/128" not in said
    assert "fddd:1338:1338:2::/64" not in said


@pytest.mark.skipif(shutil.which("babeld") is None, reason="no babeld: apt-get install babeld")
def test_another_domains_ranges_are_announced_after_a_reload(node):
    node.file("/run/mesh-devices").write_text("mesh0\n")
    node("ip -6 route add fddd:2:2:1::/96 dev mesh1 proto static")
    node(f"{SERVICE} boot")
    assert "fddd:2:2:1::/96" not in node.wait(
        "printf 'dump\nquit\n' | timeout 5 busybox nc ::1 33123", "add interface"
    )
    node.write((CONFIG + BABEL).replace("fddd:1338:1338::/48", "fddd:2:2::/48"))
    node(f"{SERVICE} reload")
    node.wait("printf 'dump\nquit\n' | timeout 5 busybox nc ::1 33123", "fddd:2:2:1::/96")


@pytest.mark.skipif(shutil.which("babeld") is None, reason="no babeld: apt-get install babeld")
def test_prefixd_from_its_package_finds_a_plat_through_babeld(node):
    node.write(
        (CONFIG + BABEL)
        .replace("/run/no-babeld", "[::1]:33123")
        .replace("'1'\n\toption pool", "'0'\n\toption pool")
    )
    node.file("/run/mesh-devices").write_text("mesh0\n")
    node("setsid unshare --net sh -c 'echo $$ >/run/far.pid; exec sleep 3000' >/dev/null 2>&1 9>&- &")
    node.wait("cat /run/far.pid", "\n")
    # another node: its PLAT's management address answers
    plat = "fddd:1338:1338:aaaa::"
    node(
        "ip link set far0 netns $(cat /run/far.pid); cat >/run/far.sh <<'FAR'\n"
        "ip link set lo up; ip link set far0 up; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding\n"
        f"ip -6 addr add {plat}192.0.0.1/128 dev lo nodad; ip -6 route add {plat}/96 dev lo proto static\n"
        "exec babeld -I '' -S /run/far.state -g 33123"
        f" -C 'redistribute ip {plat}/96 allow' -C 'redistribute local deny' far0\n"
        "FAR\n"
        "setsid nsenter -t $(cat /run/far.pid) -n sh /run/far.sh >/run/far.log 2>&1 9>&- &"
    )
    node.add_clients()
    node(f"{SERVICE} enable && {SERVICE} boot")
    node.start()
    try:
        status = node.wait("prefixd --status --json", f'"chosen": "{plat}/96"', within_s=600)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{node.diagnostics()}") from error
    assert '"own": false' in status
    node.wait("ip -4 route show table 464", "default dev clat")
    assert f"remote.v6 {plat}/96" in node("siit show")


def test_openwrts_babeld_announces_no_address_of_the_exits_own(tmp_path):
    """babeld announces all of a node's addresses unless told otherwise: the WAN's, and 192.0.0.8 of the translator."""
    node = Node(tmp_path, "")
    try:
        node("ip link add mesh0 type veth peer name mesh1; ip link set mesh0 up; ip link set mesh1 up")
        node("ip -6 addr add 2001:db8:5::1/64 dev wan; ip -6 addr add fd00:9::1/128 dev mesh0")
        node.add_clients()
        node.file("/etc/config/babeld").write_text("config general\n\toption conf_dir '/run/babeld.d'\n")
        node.file("/etc/init.d/babeld").write_text("#!/bin/sh\n")
        node("chmod +x /etc/init.d/babeld")
        node.start()
        node.wait("464xlat status", "plat  up")
        node.wait("464xlat status", "clat  up")
        node.wait("cat /run/babeld.d/464xlat.conf", "if wan deny")
        node(
            "babeld -D -L /run/babeld.log -I /run/babeld.pid -S /run/babeld.state -c /run/babeld.d/464xlat.conf mesh0"
        )
        told = node.wait(
            "printf 'dump\\nquit\\n' | nc ::1 33123 | grep xroute", "fddd:1338:1338:1234:5678:9abc::/96"
        )
        announced = {line.split()[2].split("-")[0] for line in told.splitlines()}
        ours = {f"fddd:{net}:{net}:1234:5678:9abc::/96" for net in ("1337", "1338")}
        assert ours | {"fd00:9::1/128"} <= announced, told  # the mesh's address is the admin's to announce
        assert not {
            address for address in announced if address.startswith(("192.0.", "2001:db8:5:", "10.46."))
        }, told
        assert "192.0.0.8" in node("ip -4 addr")
    finally:
        node("[ ! -e /run/babeld.pid ] || kill $(cat /run/babeld.pid)", check=False)
        node.close()


def test_openwrts_babeld_starts_once_at_a_boot(tmp_path):
    """What a node announces lies there before babeld starts, so that a role that comes up does not restart it."""
    node = Node(tmp_path, "")
    try:
        node.add_clients()
        node.file("/etc/config/babeld").write_text("config general\n\toption conf_dir '/run/babeld.d'\n")
        node.file("/etc/init.d/babeld").write_text(
            "#!/bin/sh\necho $1 >>/run/babeld.asked\n[ $1 != running ]\n"
        )
        node("chmod +x /etc/init.d/babeld; /etc/init.d/464xlat enable && /etc/init.d/464xlat boot")
        told = node("cat /run/babeld.d/464xlat.conf")
        assert "redistribute ip fddd:1338:1338::/48 eq 96 allow" in told
        assert "redistribute local if wan deny" in told
        assert not is_up(node("464xlat status", check=False), "plat")
        node("/etc/init.d/siit start")
        for role in ("plat", "clat"):
            node.wait("464xlat status", f"{role:5} up")
            node.wait(f"cat /run/464xlat/{role}.problem 2>&1", "No such file")
        assert node("cat /run/babeld.d/464xlat.conf") == told
        assert "reload" not in node("cat /run/babeld.asked")
    finally:
        node.close()
