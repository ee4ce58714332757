# SPDX-License-Identifier: ISC
"""The demo as a person runs it, and as a person stops it."""

import json
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import packages
import pytest
from meshes import mesh_text
from waiting import wait_until

from sdk.lab.process_table import find_labs

MESH = """
[lab]
hello_interval_ms = 500
[nodes.near]
role = "both"
[nodes.far]
role = "clat"
[nodes.north]
role = "plat"
[[links]]
between = ["far", "near"]
cost = 192
[[links]]
between = ["far", "north"]
delay_ms = 1
loss_percent = 0.05
[clients.phone]
node = "far"
[clients.tablet]
node = "near"
"""


@pytest.fixture
def mesh(tmp_path):
    file = tmp_path / "mesh.toml"
    file.write_text(MESH)
    return file


def demo(*options, **more):
    return subprocess.Popen(
        [sys.executable, "-m", "sdk.demo", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **more,
    )


def checks_of(result, *options):
    """Run the demo to its end; every check has to pass.

    Some are about seconds, so a busy machine may try once more, and the summary of all tests tells of it.
    """
    for _ in range(2):
        program = demo("--json", str(result), *options)
        said, errors = program.communicate(timeout=600)
        if program.returncode == 0:
            break
        warnings.warn(f"the demo did not pass:\n{said}{errors}", stacklevel=2)
    assert program.returncode == 0, said + errors
    checks = json.loads(result.read_text())
    assert checks["failed"] == 0
    return checks, said


@pytest.mark.skipif(
    not Path("/usr/include/json-c/json.h").exists(), reason="packages need apt-get install libjson-c-dev"
)
def test_every_check_passes_on_nodes_that_run_the_packages(mesh, tmp_path):
    packages.built()
    checks, said = checks_of(
        tmp_path / "demo.json", "--topology", str(mesh), "--from-packages", str(packages.FOLDER)
    )
    assert {"ping", "HTTP download", "roaming", "download while roaming"} <= {
        c["name"] for c in checks["checks"]
    }
    assert "the exit in use fails" in said


def test_every_check_of_the_demo_passes_on_a_mesh_that_does_not_ship(mesh, tmp_path):
    checks, said = checks_of(tmp_path / "demo.json", "--topology", str(mesh))
    assert checks["passed"] == len(checks["checks"]) > 10
    assert {"ping", "DNS", "HTTP download", "path MTU", "UDP fragments"} <= {
        c["name"] for c in checks["checks"]
    }
    assert {"roaming", "download while roaming", "the seed's rules break it"} <= {
        c["name"] for c in checks["checks"]
    }
    assert "the exit in use fails" in said


def ignore_interrupts():
    """As a shell does for what a script starts in the background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_demo_that_is_stopped_leaves_no_lab_behind(mesh, number, tmp_path):
    options = ["--topology", str(mesh), "--json", str(tmp_path / "demo.json")]
    program = demo(*options, preexec_fn=ignore_interrupts)
    name = f"demo-{program.pid}"
    wait_until(lambda: name in find_labs(), "lab")
    os.kill(program.pid, number)
    _, errors = program.communicate(timeout=60)
    if number != signal.SIGKILL:
        assert program.returncode == 130
        assert "interrupted" in errors
    wait_until(lambda: name not in find_labs(), "end of the lab")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--topology", "nowhere.toml"], "cannot read the topology"),
        (["--site", "nowhere.conf"], "cannot read the site file"),
        (
            ["--json", "/proc/here/demo.json"],
            "/proc/here/demo.json cannot be written: No such file or directory",
        ),
        (["--json", "/"], "/ cannot be written: Is a directory"),
    ],
)
def test_bad_input_is_one_sentence(options, sentence):
    refuses(options, sentence)


@pytest.mark.parametrize(
    ("without", "sentence"),
    [
        ("[clients", "the topology has no client"),
        ("[[links", "no link leads from far to a node of the role plat or both"),
    ],
)
def test_a_mesh_in_which_nothing_can_be_told_is_refused_before_it_is_made(mesh, without, sentence):
    tables = ("\n" + MESH).split("\n[")
    mesh.write_text("\n[".join(table for table in tables if not f"[{table}".startswith(without)))
    refuses(["--topology", str(mesh)], sentence)


def refuses(options, sentence):
    program = demo(*options)
    said, errors = program.communicate(timeout=60)
    assert (program.returncode, said) == (1, "")
    assert sentence in errors
    assert len(errors.strip().splitlines()) == 1


def test_a_demo_that_is_kept_stays_for_the_lab_command(mesh, tmp_path):
    lab = [str(Path(__file__).resolve().parents[2] / "bin/lab")]
    mesh.write_text(mesh_text("far=clat north=plat", "far-north", "phone=far", roaming="false"))
    program = demo("--topology", str(mesh), "--json", str(tmp_path / "demo.json"), "--keep")
    said, errors = program.communicate(timeout=600)
    try:
        assert program.returncode == 0, said + errors
        assert "bin/lab down" in said
        status = subprocess.run([*lab, "status", "--json"], capture_output=True, text=True, timeout=60)
        assert json.loads(status.stdout)["name"] == "lab", status.stderr
    finally:
        subprocess.run([*lab, "down"], capture_output=True, timeout=60)
    assert "lab" not in find_labs()
