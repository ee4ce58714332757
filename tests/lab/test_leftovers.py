# SPDX-License-Identifier: ISC
"""A run that is killed leaves nothing behind: no namespace and no process in it."""

import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from waiting import wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces, which needs root")
MARK = "XLAT464_TEST_OF_LEFTOVERS"  # in the environment of all that the run starts
# what makes machines for tests and benches, each with a program that would go on for ever; labs are in test_lab.py
MAKERS = {
    "prefixd": """
from prefixd_lab import Namespaces
spaces = Namespaces()
spaces.add("node"), spaces.add("peer"), spaces.link("node", "peer")
spaces.start("node", ["sleep", "1000"])
""",
    "siit": """
from siit_lab import Namespace
space = Namespace("siit" + mark, folder)
space.start_siit()
""",
    "bench speed": """
from bench.speed.path import path
made = path("", folder)
made.__enter__()
""",
    "bench reach": """
from bench import reach
made = reach.path()
made.__enter__()["relay"].start("sleep", "1000")
""",
    "node": """
from node_lab import Machine
machine = Machine("node")
machine.start(["sh", "-c", "echo started; sleep 1000"])
""",
    "reach": """
from reach_lab import Machine
machine = Machine()
subprocess.Popen(machine.command("sleep", "1000"))
""",
    "respondd": """
from test_package_respondd import Box
box = Box()
box.start("sleep", "1000")
""",
}
RUN = """
import pathlib, subprocess, sys
mark, folder = sys.argv[1], pathlib.Path(sys.argv[2])
{maker}
print("up", flush=True)
sys.stdin.read()
"""


def marked(mark):
    """The processes of a run, with what they are, by their environment."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"{MARK}={mark}".encode() in (entry / "environ").read_bytes():
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            pass
    return found


def spaces():
    return set(
        re.findall(r"^\S+", subprocess.run(["ip", "netns"], capture_output=True, text=True).stdout, re.M)
    )


@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
def test_a_killed_run_leaves_no_namespace_and_no_process(tmp_path, maker):
    mark, before = uuid.uuid4().hex[:6], spaces()
    run = subprocess.Popen(
        [sys.executable, "-c", RUN.format(maker=maker), mark, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        start_new_session=True,
        env={**os.environ, MARK: mark, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert run.stdout.readline() == "up\n", run.communicate()[1]
    started, made = marked(mark), spaces() - before
    assert len(started) > 1
    run.kill()  # it alone: what it started has to go without a signal of ours
    run.communicate()
    wait_until(lambda: not marked(mark), f"the end of what it started, {started}")
    wait_until(lambda: not made & spaces(), f"the end of {made}")
