# SPDX-License-Identifier: ISC
"""The shim and nat46ctl against translators that are there: siit, and the kernel module where NAT46_KO names it."""

import contextlib
import json
import os
import subprocess
import threading
import uuid
from pathlib import Path

import pytest
import translators
from siit_lab import Namespace
from waiting import wait_until

from nat46 import (
    DaemonMissing,
    DeviceExists,
    KernelTarget,
    NoDevice,
    Refused,
    Rejected,
    Translator,
    kernel,
    libc,
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

ROOT = Path(__file__).resolve().parents[2]
CTL = str(ROOT / "bin" / "nat46ctl")
CLAT = "local.v4 10.1.0.0/24 local.v6 fddd:1337:1337:1234:5678:9abc::/96 local.style RFC6052"
PLAT = "remote.v4 0.0.0.0/0 remote.v6 fddd:1337:1338:1234:5678:9abd::/96 remote.style RFC6052"
ONE = "local.v4 192.0.2.1/32 local.v6 2001:db8::1/128"


@pytest.fixture(params=["siit", "nat46"])
def world(request, tmp_path):
    made = translators.make(request.param, tmp_path, f"n46{uuid.uuid4().hex[:8]}")
    yield made
    if request.param == "nat46":
        with contextlib.suppress(Exception):
            for device in made.translator.list():
                made.translator.delete(device.name)
    made.node.close()


def links(world):
    return world.node.run("ip", "-brief", "link").stdout


def test_a_device_lives_as_it_is_told(world):
    ours = world.translator
    ours.create("clat", [ONE, CLAT])
    assert "clat" in links(world)
    ours.configure("clat", PLAT)
    ours.insert("clat", "local.v4 192.0.2.2/32 local.v6 2001:db8::2/128")
    pairs = ours.show("clat").pairs
    assert [str(pair.values["local.v4"]) for pair in pairs] == ["192.0.2.2/32", "192.0.2.1/32", "10.1.0.0/24"]
    assert str(pairs[-1].values["remote.v6"]) == "fddd:1337:1338:1234:5678:9abd::/96"
    ours.remove("clat", ONE)
    assert len(ours.remove("clat", f"{CLAT} {PLAT}").pairs) == 1
    assert ours.statistics("clat").out_packets == 0
    ours.delete("clat")
    assert ours.list() == ()
    assert "clat" not in links(world)


def test_what_is_refused_changes_nothing(world):
    ours = world.translator
    ours.create("clat", [CLAT])
    before = ours.list()
    world.node.run("ip", "link", "add", "bridge0", "type", "bridge")
    with pytest.raises(DeviceExists):
        ours.create("clat")
    with pytest.raises(NoDevice):
        ours.delete("plat")
    for words in (
        "config clat remote.style RFC6052",
        "insert clat local.v4 10.0.0.0/8",
        "add abcdefghijklmnop",
    ):
        with pytest.raises(Refused):
            ours.apply(words)
    with pytest.raises(DeviceExists if world.name == "nat46" else Rejected, match="bridge0 is a"):
        ours.create("bridge0")
    assert ours.list() == before


def test_a_device_that_others_delete_is_gone(world):
    if world.name == "nat46":
        pytest.skip("the kernel lets nobody delete the module's devices but the module")
    world.translator.create("clat", [CLAT])
    world.node.run("ip", "link", "delete", "clat")
    wait_until(lambda: world.translator.list() == (), "the daemon hears of it")
    with pytest.raises(NoDevice):
        world.translator.configure("clat", PLAT)


def test_threads_and_other_processes_share_a_translator(world):
    """Each has a device, and all share one more, which keeps the pairs of each."""
    world.translator.create("shared", [])
    errors = []

    def work(number):
        try:
            name = f"d{number}"
            for i in range(5):
                world.translator.create(name, [CLAT])
                world.translator.insert(
                    "shared", f"local.v4 192.0.2.{number * 16 + i}/32 local.v6 2001:db8::{number}:{i}/128"
                )
                world.translator.delete(name)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    words = [CTL, "insert", "shared", "--local", "198.51.100.1=2001:db8::9", *target_words(world)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    for thread in threads:
        thread.join()
    assert not errors
    assert (done.returncode, done.stderr) == (0, "")
    assert len(world.translator.show("shared").pairs) == 21
    assert [device.name for device in world.translator.list()] == ["shared"]


def target_words(world):
    if world.name == "nat46":
        return ["--netns", world.node.name]
    return ["--target", str(world.node.socket)]


def test_the_command_does_what_it_says(world):
    def ctl(*words):
        command, *rest = words
        done = subprocess.run(
            [CTL, command, *rest, *target_words(world)], capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout, done.stderr

    local, remote = "10.1.0.0/24=fd00:1::/96", "0.0.0.0/0=64:ff9b::/96"
    assert ctl("add", "clat", "--local", local, "--remote", remote) == (0, "", "")
    shown = json.loads(ctl("show", "--json")[1])["devices"][0]
    assert (shown["name"], shown["pairs"][0]["remote"]["v6"]) == ("clat", "64:ff9b::/96")
    code, _, said = ctl("add", "clat")
    assert (code, said) == (
        1,
        "nat46ctl: clat is a device of this translator already, expected a name that is free\n",
    )
    code, said, _ = ctl("check")
    assert (code, "16384" in said) == ((1, True) if world.name == "nat46" else (0, False))
    assert json.loads(ctl("stat", "--json")[1])["clat"]["in_packets"] == 0
    assert ctl("del", "clat") == (0, "", "")


def test_without_a_daemon_the_error_names_what_to_start(tmp_path):
    world = translators.make("siit", tmp_path, f"n46{uuid.uuid4().hex[:8]}")
    world.translator.create("clat", [CLAT])
    world.node.end_siit()
    try:
        with pytest.raises(DaemonMissing, match="start `siit daemon`"):
            world.translator.list()
        world.node.start_siit()
        assert world.translator.show("clat").pairs[0].values["local.style"] == "RFC6052"
    finally:
        world.node.close()


# --- namespaces, with /proc/net/dev in the place of the control file: it is the namespace's as well ------------


@pytest.fixture
def other(tmp_path):
    node = Namespace(f"n46{uuid.uuid4().hex[:8]}", tmp_path)
    node.run("ip", "link", "add", "only-here", "type", "bridge")
    yield node
    node.close()


@pytest.mark.parametrize("mode", ["API", "ABI"])
def test_a_session_is_in_its_namespace_and_nobody_else_is(other, mode, monkeypatch):
    loaded = libc._load() if mode == "API" else libc.load_abi()
    if loaded[0] != mode:
        pytest.skip("nat46._libc is not compiled: python -m nat46._build")
    monkeypatch.setattr(libc, "_load", lambda: loaded)
    ours = os.readlink("/proc/thread-self/ns/net")

    def read_back(session):
        return session.read(), session.has_interface("only-here"), session.statistics("only-here").in_packets

    text, is_there, packets = KernelTarget("/proc/net/dev", other.name).perform(read_back)
    assert ("only-here:" in text, is_there, packets) == (True, True, 0)
    assert (
        KernelTarget("/proc/net/dev", other.name).perform(lambda session: session.mtu_bytes("only-here"))
        == 1500
    )
    assert KernelTarget("/proc/net/dev").perform(lambda session: session.has_interface("only-here")) is False
    assert os.readlink("/proc/thread-self/ns/net") == ours


def test_namespaces_at_the_same_time(other, tmp_path):
    second = Namespace(f"n46{uuid.uuid4().hex[:8]}", tmp_path)
    seen = {}

    def read_back(node):
        for _ in range(20):
            target = KernelTarget("/proc/net/dev", kernel.namespace_path(node.name))
            seen.setdefault(node.name, set()).add(
                target.perform(lambda session: session.has_interface("only-here"))
            )

    threads = [threading.Thread(target=read_back, args=(node,)) for node in (other, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    second.close()
    assert seen == {other.name: {True}, second.name: {False}}


def test_without_the_module_in_a_namespace_the_error_says_so(other):
    if Path(kernel.CONTROL).exists():
        pytest.skip("the module is loaded")
    with pytest.raises(Exception, match=r"open /proc/net/nat46/control: No such file .*modprobe nat46"):
        Translator(namespace=other.name).list()
