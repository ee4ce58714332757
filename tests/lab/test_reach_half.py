# SPDX-License-Identifier: ISC
"""Rendered configuration that fails half-way: ifup, wg-quick and Entware stop there, and what was done is taken back.

The programs that it calls are stand-ins, which write down how they were called; one call fails.
"""

import shutil
from pathlib import Path, PurePosixPath

import pytest
from reach_lab import ROOT, Machine, needs, wait_until

from reach import keys, reader
from reach.plan_publish import make
from reach.render import Place, debian, entware, wgquick
from reach.render.commands import commands

PROGRAMS = ("ip", "wg", "nft", "sysctl", "ethtool", "modprobe")
OF_ENTWARE = ("wireguard-go", "iptables", "ip6tables", "iptables-restore", "ip6tables-restore")
OWN = "ip -o addr show"  # whom the script about flows asks for the machine's addresses
STAYS = "#!/bin/sh\necho radvd >>/run/said\nexec sleep 1000\n"
STAND_IN = """#!/bin/sh
echo "${0##*/} $*" >>/run/said
[ "${0##*/} $*" != "$(cat /run/fails)" ]
"""
pytestmark = needs("ifup", "wg-quick", *PROGRAMS)
PLAN = make(reader.read((ROOT / "reach/examples/bridge.toml").read_text()), "server")


@pytest.fixture
def machine():
    made = Machine()
    made.run("sh", "-c", "cat >/run/stand-in && chmod 755 /run/stand-in", input=STAND_IN)
    for program in filter(shutil.which, PROGRAMS + OF_ENTWARE):
        made.run("mount", "--bind", "/run/stand-in", shutil.which(program))
    yield made
    made.end()


@pytest.fixture
def place(tmp_path):
    whole = ("server", "office", "flat")
    return Place(
        keys.Keys({}, {end: keys.public_of(keys.make()) for end in whole}), PurePosixPath(tmp_path / "reach")
    )


def write(files, place):
    """The rendered files in the place's folder; their names, and the texts of those that belong elsewhere."""
    Path(place.folder).mkdir()
    elsewhere = {}
    for file in files:
        path = PurePosixPath(file.path)
        if path.parent == place.folder:
            Path(path).write_text(file.text)
        else:
            elsewhere[path.name] = file.text
    return elsewhere


def called(machine, fails, *words):
    """How the stand-ins were called by a command, and how it ended."""
    machine.run("sh", "-c", "cat >/run/fails", input=fails)
    machine.run("sh", "-c", ": >/run/said")
    done = machine.run(*words, check=False)
    said = machine.run("cat", "/run/said").stdout.splitlines()
    return [line for line in said if line != OWN], done.returncode


def of_programs(line):
    """What a command has the stand-ins do: the script about flows is not one of them."""
    return line.replace("; ", " && ").split(" && ")[0]


def undo_lines(found):
    return [of_programs(each.down) for each in reversed(found) if each.down]


def failures(found):
    """The first, second and last command as the one that fails, with what is done before and taken back after it."""
    for number in (0, 1, len(found) - 1):
        done = [of_programs(each.up) for each in found[: number + 1]]
        yield of_programs(found[number].up), [*done, *(undo_lines(found) if number else [])]


def test_an_ifup_that_fails_has_taken_back_what_it_did(machine, place, tmp_path):
    interfaces = tmp_path / "interfaces"
    interfaces.write_text(write(debian.render(PLAN, place), place)["reach"])
    ifup = ("ifup", "-i", interfaces, "--state-dir", tmp_path, "taps-88")
    links = [device.name for device in PLAN.devices]
    last = [each for each in commands(PLAN, place) if debian.belongs(each, "taps-88", links)]
    for fails, expected in failures(last):
        assert called(machine, fails, *ifup) == (expected, 1)
    assert called(machine, "none", *ifup) == (
        [*(of_programs(each.up) for each in last), "ip link set dev taps-88 up"],
        0,
    )
    said, status = called(machine, "none", "ifdown", *ifup[1:])
    assert (said[-len(undo_lines(last)) :], status) == (undo_lines(last), 0)


def test_a_wg_quick_that_fails_has_taken_back_what_it_did(machine, place, tmp_path):
    config = tmp_path / "wg0.conf"
    config.write_text(write(wgquick.render(PLAN, place), place)["wg0.conf"])
    rest = wgquick.others(PLAN, place, wgquick.wg_links(PLAN))
    for fails, expected in failures(rest):
        said, status = called(machine, fails, "wg-quick", "up", config)
        assert status != 0
        begins = said.index(rest[0].up)
        assert said[begins : begins + len(expected)] == expected
        assert said[-1] == "ip link delete dev wg0"


def test_wg_quick_sets_names_by_what_is_there_and_says_what_is_missing(machine, tmp_path):
    """`DNS =` needs resolvconf, and takes the link down without."""
    if shutil.which("resolvconf") or shutil.which("resolvectl"):
        pytest.skip("this machine has one")
    whole = reader.read((ROOT / "reach/examples/relay-wireguard.toml").read_text())
    public = {end: keys.public_of(keys.make()) for end in whole.ends}
    place, config = Place(keys.Keys({}, public), PurePosixPath(tmp_path / "reach")), tmp_path / "wg0.conf"
    config.write_text(write(wgquick.render(make(whole, "laptop"), place), place)["wg0.conf"])
    machine.run("sh", "-c", "echo none >/run/fails")
    done = machine.run("wg-quick", "up", config, check=False)
    assert done.returncode != 0
    assert (
        "neither systemd-resolved nor resolvconf is there; install openresolv, or leave dns out"
        in done.stderr
    )
    machine.run("mount", "-t", "tmpfs", "none", "/usr/local/sbin")
    machine.run("cp", "/run/stand-in", "/usr/local/sbin/resolvectl")
    said, status = called(machine, "none", "wg-quick", "up", config)
    assert status == 0
    assert {"resolvectl dns wg0 192.168.178.1", "resolvectl domain wg0 fritz.box"} <= set(said)
    assert "ip link delete dev wg0" not in said
    said, _ = called(machine, "none", "sh", place.undo("wg0"))
    assert "resolvectl revert wg0" in said


@pytest.fixture
def nas(machine, tmp_path):
    """A NAS with Entware; its init script."""
    machine.run("mount", "-t", "tmpfs", "none", "/opt")
    machine.run("mkdir", "-p", "/opt/bin", "/opt/etc/init.d", "/opt/etc/reach", "/opt/var/run")
    keys_of_all = Place(
        keys.Keys({}, dict.fromkeys(("server", "office", "flat"), keys.public_of(keys.make())))
    )
    for file in entware.render(PLAN, keys_of_all):
        machine.run("sh", "-c", f"cat >{file.path}", input=file.text)
    machine.run("sh", "-c", "cat >/opt/bin/radvd && chmod 755 /opt/bin/radvd", input=STAYS)
    return entware.SCRIPT


@pytest.mark.skipif(not all(map(shutil.which, OF_ENTWARE)), reason="no wireguard-go, or no iptables")
def test_an_init_script_that_fails_has_taken_back_what_it_did(machine, nas):
    first, later = "wireguard-go wg0", "sysctl -qw net/ipv4/ip_forward=1"
    assert called(machine, first, "sh", nas, "start") == ([first], 1)
    said, status = called(machine, later, "sh", nas, "start")
    assert status == 1
    assert "ip link del dev taps" in said[said.index(later) :]
    assert said[-1] == "ip link del dev wg0"


@pytest.mark.skipif(not all(map(shutil.which, OF_ENTWARE)), reason="no wireguard-go, or no iptables")
def test_an_init_scripts_program_that_dies_begins_again_until_it_is_stopped(machine, nas):
    def number():
        """The program's, when it is there."""
        read = machine.run(
            "sh", "-c", "read -r pid _ </opt/var/run/reach-radvd.pid && echo $pid", check=False
        )
        found = read.stdout.strip()
        return found if machine.run("kill", "-0", found or "none", check=False).returncode == 0 else None

    machine.run("sh", "-c", ": >/run/said; : >/run/fails")
    machine.run("sh", "-c", f"sh {nas} start >/dev/null 2>&1")
    first = wait_until(number, "it runs")
    machine.run("kill", "-KILL", first)
    wait_until(lambda: number() not in (None, first), "it runs again")
    machine.run("sh", nas, "stop")
    assert machine.run("ls", "/opt/var/run").stdout == ""
    wait_until(lambda: not {"sleep", "supervisor.sh"} & set(alive(machine)), "both have ended")


def alive(machine):
    """The words that processes were called with. No process collects those that have ended here."""
    lines = machine.run("ps", "-e", "-o", "stat=", "-o", "args=").stdout.splitlines()
    return [Path(word).name for line in lines if not line.startswith("Z") for word in line.split()[1:]]
