# SPDX-License-Identifier: ISC
"""The shim and nat46ctl with the module itself, in situations that are rare.

There are hundreds of pairs, traffic on a device that goes, devices that others rename, other writers, twenty threads,
and a module that is unloaded.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest
import translators
from waiting import wait_until

from nat46 import ModuleMissing, Nat46Error, NoDevice, NoPair, NotApplied

CTL = str(Path(__file__).resolve().parents[2] / "bin/nat46ctl")
CLAT = "local.v4 10.1.0.0/24 local.v6 fddd:1337:1337:1234:5678:9abc::/96 local.style RFC6052"
PLAT = "remote.v4 0.0.0.0/0 remote.v6 fddd:1337:1338:1234:5678:9abd::/96 remote.style RFC6052"
MANY, THREADS = 300, 20
TROUBLE = (
    "asks to queue",
    "BUG",
    "Oops",
    "WARNING",
    "general protection",
    "unregister_netdevice",
    "blocked for more",
)
# datagrams to an address, as fast as it goes
FLOOD = """
import socket, sys
flood = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
while True:
    try:
        flood.sendto(bytes(100), (sys.argv[1], 9))
    except OSError:
        pass
"""


@pytest.fixture
def module(tmp_path):
    made = translators.make("nat46", tmp_path, f"n46{uuid.uuid4().hex[:8]}")
    before = trouble()
    yield made
    with contextlib.suppress(Nat46Error):
        for device in made.translator.list():
            made.translator.delete(device.name)
    made.node.close()
    assert set(trouble()) <= set(before), "the kernel is well"


def trouble():
    """The lines in which the kernel says that something is wrong with it."""
    said = subprocess.run(["dmesg"], capture_output=True, text=True).stdout.splitlines()
    return [line for line in said if any(word in line for word in TROUBLE)]


def ctl(module, command, *words, stdin=None):
    words = [CTL, command, *words, "--netns", module.node.name]
    done = subprocess.run(words, capture_output=True, text=True, check=False, input=stdin)
    return done.returncode, done.stdout, done.stderr


def one(i, remote=""):
    """A pair of one IPv4 address; with PLAT behind it the listing is cut before remote.style."""
    local = f"local.v4 10.64.{i >> 8}.{i & 255}/32 local.v6 fddd:1337:1337:1234:5678:9abc:{i:x}:1/128"
    return f"{local} {remote}".strip()


def locals_of(module, device):
    """The local addresses of a device's pairs, as in one()."""
    return [" ".join(pair.text.split()[:4]) for pair in module.translator.show(device).pairs]


@contextlib.contextmanager
def flood(module, *addresses):
    words = [[sys.executable, "-c", FLOOD, each] for each in addresses]
    floods = [subprocess.Popen(module.node.command(*each)) for each in words]
    try:
        yield
    finally:
        for each in floods:
            each.kill()
            each.wait()


@contextlib.contextmanager
def writer(module, *lines):
    """A program that writes these lines to the control file without end, and knows nothing of the shim."""
    script = "while :; do\n" + "\n".join(lines) + "\ndone"
    process = subprocess.Popen(module.node.command("sh", "-c", script), start_new_session=True)
    try:
        yield
        assert process.poll() is None, "it has written all the time"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_device_has_hundreds_of_pairs(module):
    ours, pairs = module.translator, {i: one(i, PLAT if i % 2 else "") for i in range(MANY)}
    begun = time.monotonic()
    made = ours.create("clat", list(pairs.values())).pairs
    print(f"{MANY} pairs made in {time.monotonic() - begun:.1f} s")
    assert ["remote.style" in pair.hidden for pair in made[:2]] == [False, True]
    assert locals_of(module, "clat") == [one(i) for i in range(MANY)]
    ours.insert("clat", one(MANY))
    ours.remove("clat", one(MANY))
    for i in (MANY // 2, MANY - 1):
        ours.remove("clat", pairs[i])
        with pytest.raises(NoPair):
            ours.remove("clat", pairs.pop(i))
    assert locals_of(module, "clat") == [one(i) for i in pairs]
    *others, last = pairs.values()
    inserts = [f"insert clat {pair}" for pair in reversed(others)]
    file = "\n".join(["add clat", f"config clat {last}", *inserts])
    assert ctl(module, "diff", "-", stdin=file) == (0, "", "")


def test_devices_change_and_go_under_traffic(module):
    ours = module.translator
    module.node.run("ip", "address", "add", "10.1.0.1/24", "dev", "lo")
    module.node.run("ip", "address", "add", "2001:db8::1/128", "dev", "lo")
    routes = (
        "ip link set clat up mtu 1280 && ip route add 198.51.100.0/24 dev clat && "
        "ip route add fddd:1337:1337:1234:5678:9abc::/96 dev clat"
    )
    with flood(module, "198.51.100.1", "fddd:1337:1337:1234:5678:9abc:a01:1"):
        for _ in range(10):
            ours.create("clat", [f"{CLAT} {PLAT}"])
            module.node.run("sh", "-c", routes)
            wait_until(lambda: ours.statistics("clat").in_packets > 100, what="traffic")
            ours.insert("clat", one(1))
            ours.remove("clat", one(1))
            ours.delete("clat")
    assert ours.list() == ()
    assert "clat" not in module.node.run("ip", "-brief", "link").stdout


def test_a_device_that_others_rename_is_another_and_none_is_moved(module):
    ours, node = module.translator, module.node
    ours.create("clat", [CLAT])
    node.run("ip", "link", "set", "clat", "name", "uplink")
    assert [device.name for device in ours.list()] == ["uplink"]
    with pytest.raises(NoDevice, match="one of uplink"):
        ours.configure("clat", PLAT)
    assert ctl(module, "del", "clat")[::2] == (
        1,
        "nat46ctl: there is no device clat, expected one of uplink\n",
    )
    ours.create("clat", [one(1)])
    before = ours.list()
    assert node.run("ip", "link", "set", "uplink", "netns", str(os.getpid()), check=False).returncode
    assert ours.list() == before
    assert ours.mtu_bytes("uplink") == 16384
    ours.configure("uplink", PLAT)
    for name in ("uplink", "clat"):
        ours.delete(name)


def test_who_takes_the_lock_and_writes_disturbs_nobody(module):
    ours, file = module.translator, "/proc/net/nat46/control"
    ours.create("shared", [CLAT])
    words = [
        f"exec 9</proc/self/ns/net; flock 9; echo '{each} shared {one(0)}' >{file}"
        for each in ("insert", "remove")
    ]
    with writer(module, *(f"({each})" for each in words)):
        for i in range(1, 20):
            ours.insert("shared", one(i))
            if i > 2:
                ours.remove("shared", one(i - 2))
            if i % 8 == 0:
                assert ctl(module, "show")[0] == 0
    there = [each for each in locals_of(module, "shared") if each != one(0)]
    assert there == [one(19), one(18), " ".join(CLAT.split()[:4])]


def test_who_writes_without_the_lock_is_noticed(module):
    """prefixd does: a config, which frees nothing that a listing may be reading."""
    ours, done, errors = module.translator, [], []
    ours.create("shared", [f"{CLAT} {PLAT}"])
    lines = [f"echo 'config shared local.v4 10.{net}.0.0/24' >/proc/net/nat46/control" for net in (1, 2)]
    with writer(module, lines[0], "sleep 0.1", lines[1], "sleep 0.1"):
        for i in range(1, 60):
            try:
                ours.insert("shared", one(i))
                done.append(one(i))
            except NotApplied as error:
                errors.append(error)
    assert set(done) <= set(locals_of(module, "shared"))
    assert len(ours.show("shared").pairs) <= 60
    told = [str(error) for error in errors]
    assert [each for each in told if "10.1.0.0/24" not in each or "10.2.0.0/24" not in each] == []
    print(f"{len(done)} inserts confirmed, {len(errors)} not")


def test_twenty_threads_share_the_module(module):
    ours, errors = module.translator, []
    ours.create("shared", [])

    def work(number):
        try:
            for i in range(3):
                ours.create(f"d{number}", [CLAT])
                ours.configure(f"d{number}", PLAT)
                ours.insert("shared", one(number * 16 + i))
                ours.delete(f"d{number}")
        except Exception as error:
            errors.append(error)

    begun = time.monotonic()
    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"{THREADS} threads took {time.monotonic() - begun:.1f} s")
    assert not errors
    assert [device.name for device in ours.list()] == ["shared"]
    wanted = sorted(one(number * 16 + i) for number in range(THREADS) for i in range(3))
    assert sorted(locals_of(module, "shared")) == wanted


def test_the_module_goes_with_its_devices_and_comes_back(module):
    """Nobody else has devices then: this suite shares its lane with all others of the module."""
    ours = module.translator
    ours.create("clat", [CLAT])
    module.node.run("ip", "link", "set", "clat", "up")
    subprocess.run(["rmmod", "nat46"], check=True)
    assert "clat" not in module.node.run("ip", "-brief", "link").stdout
    for act in (ours.list, lambda: ours.delete("clat"), lambda: ours.create("clat", [CLAT])):
        with pytest.raises(ModuleMissing):
            act()
    assert ctl(module, "show") == (
        1,
        "",
        "nat46ctl: open /proc/net/nat46/control: No such file or directory: load the module: "
        "modprobe nf_defrag_ipv6; modprobe nat46 (OpenWrt: kmod-nat46)\n",
    )
    subprocess.run(["insmod", os.environ["NAT46_KO"]], check=True)
    assert ours.list() == ()
    assert ours.create("clat", [CLAT]).pairs
