# SPDX-License-Identifier: ISC
"""The lab as its users have it: IPv4 through the mesh, links and nodes that die and come back, and nothing left."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from meshes import mesh_text
from test_lab_site import COMMUNITY
from waiting import wait_until

from sdk.lab import WEB, LabError
from sdk.lab.machine import Machines
from sdk.lab.plan import clatnodes
from sdk.lab.process_table import LAB, REPOSITORY, find_labs, processes
from sdk.lab.services import PATTERN
from sdk.lab.status import describe
from xlat464.address import format_mac

LINE = mesh_text(
    "a=clat b=clat middle=plain exit=plat",
    "a-middle b-middle middle-exit",
    "phone=a tablet=b",
)
# a mesh without an exit: its client never has IPv4, so the wait lasts until the deadline
NEVER_READY = mesh_text("a=clat b=plain", "a-b", "phone=a")
# a node for itself, with names as long as they may be
LONE = """
[lab]
prefixd = "micropython"
pool = "192.168.7.0/29"
[nodes.abcdefghijklmno]
role = "both"
[clients.abcdefghijklmnp]
node = "abcdefghijklmno"
"""
LAB_COMMAND = str(REPOSITORY / "bin/lab")


@pytest.fixture(scope="module")
def line(lab_of):
    return lab_of(LINE)


@pytest.fixture(scope="module")
def lone(lab_of, tmp_path_factory):
    path = tmp_path_factory.mktemp("site") / "site.conf"
    path.write_text(COMMUNITY)
    return lab_of(LONE, path)


def answers(lab, client, address=WEB):
    return lab.exec(client, ["ping", "-c", "1", "-W", "1", address], check=False).returncode == 0


def is_whole(lab, client, size):
    """Whether a download has the right bytes; there may be none while babel has lost a way for a moment."""
    done = lab.exec(client, ["sh", "-c", f"curl -sS -m 50 http://{WEB}/bytes/{size} | sha256sum"])
    if done.stderr.strip():
        return False
    assert done.stdout.split()[0] == hashlib.sha256((PATTERN * (size // len(PATTERN) + 1))[:size]).hexdigest()
    return True


def left_of(name):
    """Return what this machine has of a lab."""
    return [process.pid for process in processes() if process.environ.get(LAB) == name]


def whole_machine():
    """Return what a lab could leave behind here: devices, mounts, files in /run. Not those of `ip netns` and
    iptables, which the lab does not use here and other programs do."""
    links = json.loads(subprocess.run(["ip", "-j", "link"], capture_output=True, check=True).stdout)
    mounts = {line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()}
    return (
        {link["ifname"] for link in links}
        | {mount for mount in mounts if "netns" not in mount}
        | {f"/run/{entry}" for entry in os.listdir("/run") if entry not in ("netns", "xtables.lock")}
    )


def test_the_next_node_is_the_same_on_every_clatnode(line):
    seen = set()
    for node in clatnodes(line.topology):
        (device,) = json.loads(line.exec(node.name, ["ip", "-j", "addr", "show", line.gateway_device]).stdout)
        ((address, length),) = [
            (each["local"], each["prefixlen"]) for each in device["addr_info"] if each["family"] == "inet"
        ]
        seen.add((device["address"], address, length))
    assert seen == {(format_mac(line.site.next_node_mac), "10.46.0.1", 16)}


def test_a_cut_link_keeps_its_carrier_and_carries_nothing_until_healed(line):
    assert wait_until(lambda: answers(line, "phone"))
    line.cut("a-middle")
    line.cut("middle-a")  # the same link; again is as once
    assert not answers(line, "phone")
    for machine in ("a", "middle"):
        device = line.cable("a-middle").end_at(machine).device
        assert line.exec(machine, ["cat", f"/sys/class/net/{device}/carrier"]).stdout.strip() == "1"
    assert [link["name"] for link in describe(line)["links"] if link["cut"]] == ["a-middle"]
    wait_until(lambda: answers(line, "tablet"), "an answer over another link")
    line.heal("a-middle")
    line.heal("a-middle")
    wait_until(lambda: answers(line, "phone"), what="an answer after healing")


def test_a_platnode_that_was_killed_comes_back_and_the_clients_work_again(line):
    line.kill("exit")
    assert not answers(line, "phone")
    assert {node["name"]: node["alive"] for node in describe(line)["nodes"]} == {
        "a": True,
        "b": True,
        "middle": True,
        "exit": False,
    }
    line.start("exit")
    line.wait_ready()
    assert line.alive()["exit"]


def test_a_clatnode_that_was_killed_comes_back_and_its_client_works_again(line):
    old = line.running.daemons()["tablet"]["udhcpc"]
    line.kill("a")
    line.start("a")
    line.wait_ready()
    daemons = line.running.daemons()
    assert len(daemons["phone"]["udhcpc"]) == 1
    assert daemons["tablet"]["udhcpc"] == old  # another client's stays


def test_a_node_that_starts_beside_one_that_is_off_stays_cut_from_it(line):
    line.kill("exit")
    line.kill("middle")
    line.start("middle")
    assert [link["name"] for link in describe(line)["links"] if link["cut"]] == ["middle-exit", "wan-exit"]
    line.start("exit")
    line.wait_ready()


def test_a_program_that_is_gone_is_said(line):
    line.running.stop("b", "prefixd")
    (node,) = [node for node in describe(line)["nodes"] if node["name"] == "b"]
    assert (node["alive"], node["missing"], node["plat"]) == (True, ["prefixd"], None)
    line.programs.start_prefixd(line.node("b"))
    line.wait_ready()


def test_what_is_not_there_is_named_with_what_is(line):
    with pytest.raises(LabError, match="there is no link 'x', known are a-middle"):
        line.cut("x")
    with pytest.raises(LabError, match="there is no node 'phone', known are a, b, middle, exit"):
        line.kill("phone")
    with pytest.raises(LabError, match="there is no machine 'x'"):
        line.exec("x", ["true"])
    with pytest.raises(LabError, match="failed"):
        line.exec("a", ["false"])


def test_a_lone_node_with_micropython_and_another_communitys_site_at_the_same_time(line, lone):
    node, client = "abcdefghijklmno", "abcdefghijklmnp"
    assert lone.leases()[client].startswith("10.126.")
    assert lone.plat_of(node) == node
    assert lone.prefixd_status(node)["chosen"].startswith("fd5d:5d16:b5de:")
    assert "micropython" in lone.exec(node, ["ps", "-ww", "-o", "args=", "-C", "micropython"]).stdout
    assert "default via 10.126.0.1" in lone.exec(client, ["ip", "route"]).stdout
    assert lone.exec(node, ["cat", "/sys/class/net/clat/mtu"]).stdout.strip() == "1374"
    for lab, phone in ((lone, client), (line, "phone")):
        wait_until(lambda lab=lab, phone=phone: is_whole(lab, phone, 1_000_000), "whole download")


def test_a_second_lab_of_the_same_name_is_refused_and_the_first_stays(line, lab_of):
    from sdk.lab import Lab

    with pytest.raises(LabError, match="is up already"):
        Lab(line.topology, name=line.name).up()
    wait_until(lambda: answers(line, "phone"), "an answer")


PROGRAM = """
import sys, time
from sdk.lab import Lab, load_topology
with Lab(load_topology("line"), name=sys.argv[1]) as lab:
    print("up", flush=True)
    sys.stdin.read()
"""


def start_program(name):
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        cwd=REPOSITORY,
    )
    assert program.stdout.readline() == b"up\n"
    assert left_of(name)
    return program


@pytest.mark.parametrize("end", ["the end", signal.SIGINT, signal.SIGKILL])
def test_a_lab_leaves_nothing_however_its_program_ends(lab_name, end):
    name, before = lab_name(), whole_machine()
    with start_program(name) as program:
        if end == "the end":
            program.stdin.close()
        else:
            program.send_signal(end)
        program.wait(60)
    wait_until(lambda: not [pid for pid in left_of(name) if pid != program.pid], "the end of all processes")
    assert name not in find_labs()
    wait_until(lambda: whole_machine() <= before, "a clean machine")


def lab(*arguments, cwd, stdin="", timeout=90):
    return subprocess.run(
        [LAB_COMMAND, *arguments], capture_output=True, text=True, input=stdin, cwd=cwd, timeout=timeout
    )


def test_the_command_from_up_to_down(lab_name, tmp_path):
    (tmp_path / "my.toml").write_text(LINE)
    (tmp_path / "my.conf").write_text(COMMUNITY)
    name, before = lab_name(), whole_machine()
    here = {"cwd": tmp_path}
    try:
        up = lab("up", "my.toml", "--site", "my.conf", "--name", name, **here)
        assert (up.returncode, up.stderr) == (0, "")
        assert f"lab down --name {name}" in up.stdout

        again = lab("up", "my.toml", "--name", name, **here)
        assert (again.returncode, again.stdout) == (1, "")
        assert again.stderr.startswith("lab: a lab of the name ")
        assert f"`lab down --name {name}` ends it" in again.stderr
        assert again.stderr.count("\n") == 1

        (tmp_path / "my.toml").write_text("= 1")  # a lab that is up stays what it was
        (tmp_path / "my.conf").unlink()

        def status():
            return json.loads(lab("status", "--json", "--name", name, **here).stdout)

        def plat_of_a():
            return {node["name"]: node["plat"] for node in status()["nodes"]}["a"]

        assert status()["topology"] == str(tmp_path / "my.toml")
        wait_until(lambda: plat_of_a() == "exit", "PLAT of a: babel may lose a way for a moment")
        assert "exit" in lab("status", "--name", name, **here).stdout
        assert name in lab("list", **here).stdout

        script = ["sh", "-c", "cat; pwd; echo oops >&2; hostname; exit 7"]
        ran = lab("exec", "--name", name, "phone", *script, stdin="hello\n", **here)
        assert (ran.returncode, ran.stdout, ran.stderr) == (7, f"hello\n{tmp_path}\nphone\n", "oops\n")
        shell = lab("shell", "--name", name, "a", stdin="ip -br link show clat; exit 3\n", **here)
        assert shell.returncode == 3
        assert "clat" in shell.stdout

        for command in (["cut", "a-middle"], ["heal", "a-middle"], ["kill", "exit"], ["start", "exit"]):
            done = lab(*command, "--name", name, **here)
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        for node, options in (("b", []), ("a", ["--hard"])):
            done = lab("roam", "phone", node, *options, "--name", name, **here)
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
            assert {client["name"]: client["node"] for client in status()["clients"]} == {
                "phone": node,
                "tablet": "b",
            }
        for command in (["cut", "nothing"], ["roam", "phone", "a"]):
            refused = lab(*command, "--name", name, **here)
            assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
        ping = ["exec", "--name", name, "phone", "ping", "-c", "1", "-W", "1", WEB]
        wait_until(lambda: lab(*ping, **here).returncode == 0, what="an answer")
    finally:
        down = lab("down", "--name", name, **here)
    assert (down.returncode, down.stdout, down.stderr) == (0, "", "")
    wait_until(lambda: not left_of(name), "the end of all processes")
    wait_until(lambda: whole_machine() <= before, "a clean machine")
    assert lab("down", "--name", name, **here).returncode == 1


@pytest.mark.parametrize("step", ["starting babeld", "waiting for"])
def test_ctrl_c_during_up_takes_the_lab_down_again(lab_name, tmp_path, step):
    name, file = lab_name(), tmp_path / "never.toml"
    file.write_text(NEVER_READY)
    command = [LAB_COMMAND, "up", str(file), "--name", name, "--wait", "600"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as up:
        try:
            wait_until(lambda: step in up.stdout.readline(), what=step)
            up.send_signal(signal.SIGINT)
            signals = re.findall(r"^(?:Sig|Shd).*", Path(f"/proc/{up.pid}/status").read_text(), re.M)
            output, errors = up.communicate(timeout=60)
            assert (up.returncode, errors) == (130, "lab: interrupted\n"), (signals, output)
            wait_until(lambda: not left_of(name), "the end of all processes")
        finally:
            up.kill()
            lab("down", "--name", name, cwd=tmp_path)


def test_ctrl_c_while_the_first_process_starts_leaves_none(lab_name, monkeypatch):
    name = lab_name()

    def interrupted(*_):
        wait_until(lambda: name in find_labs(), "the first process")
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr("sdk.lab.machine.select.select", interrupted)
        with pytest.raises(KeyboardInterrupt):
            Machines.start(name, persistent=True)
    try:
        wait_until(lambda: not left_of(name), "the end of all processes")
    finally:
        for pid in left_of(name):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        ([], 2, "COMMAND"),
        (["fly"], 2, "invalid choice"),
        (["up"], 2, "FILE"),
        (["up", "line", "--wait", "-1"], 2, "--wait"),
        (["exec"], 2, "CMD"),
        (["exec", "a"], 2, "lab: exec needs a command"),
        (["up", "none.toml"], 2, "lab: none.toml: cannot read the topology"),
        (["up", "bad.toml"], 2, "lab: bad.toml: this is not TOML"),
        (["up", "line", "--site", "none.conf"], 2, "lab: none.conf: cannot read the site file"),
        (["up", "line", "--name", ""], 2, "lab: the name '' is no name for a lab"),
        (["down", "--name", "nobody"], 1, "lab: no lab of the name 'nobody' is up"),
        (["exec", "--name", "nobody", "a", "true"], 1, "lab: no lab of the name 'nobody' is up"),
    ],
)
def test_a_wrong_command_line_is_said(lab_machine, tmp_path, arguments, status, says):
    (tmp_path / "bad.toml").write_text("= 3")
    done = lab(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (status, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_help_teaches_with_examples(tmp_path):
    for arguments in (["--help"], ["up", "--help"], ["exec", "--help"], ["cut", "--help"]):
        done = lab(*arguments, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert "lab " in done.stdout


def test_without_root_the_sentence_says_what_to_do(tmp_path):
    nobody = ["setpriv", "--reuid", "65534", "--clear-groups", "--", LAB_COMMAND]
    if subprocess.run([*nobody, "--help"], capture_output=True).returncode:
        nobody = ["unshare", "--user", "--", LAB_COMMAND]  # where nobody may not read the tree
    for command in (["up", "line"], ["down"], ["status"]):
        done = subprocess.run([*nobody, *command], capture_output=True, text=True, cwd="/")
        assert done.returncode == 1
        assert "run this as root" in done.stderr
        assert done.stderr.count("\n") == 1
