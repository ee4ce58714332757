# SPDX-License-Identifier: ISC
"""python3-nat46 as built: nat46ctl runs from it on a machine that compiles nothing."""

import packages
import pytest
from test_package_ipk import pytestmark
from test_package_run import run_python

assert pytestmark  # without build tools there are no packages


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("root")
    packages.unpack(["python3-nat46", "python3-xlat464"], folder)
    return folder


def test_nat46ctl_runs_from_its_package_without_anything_compiled(root, tmp_path):
    done = run_python(root, "-m", "nat46", "add", "clat", "--local", "10.1.0.0/16=fd00:1::/96", "--dry-run")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "add clat"), done.stderr
    control = tmp_path / "control"
    control.write_text("add clat\n\n")
    done = run_python(root, "-m", "nat46", "show", "--target", str(control))
    assert (done.returncode, done.stdout.splitlines()[1].split()) == (0, ["clat", "-"]), done.stderr
    assert run_python(root, "-c", "from nat46 import libc; print(libc.mode())").stdout == "ABI\n"
    assert (root / "usr/sbin/nat46ctl").read_text().splitlines()[-1] == 'exec python3 -m nat46 "$@"'
