# SPDX-License-Identifier: ISC
"""What tests with namespaces use: names of their own, labs that end with the test, waiting with a deadline."""

import itertools
import os

import pytest
from node_lab import machines, node  # noqa: F401 # fixtures
from prefixd_mesh import python, spaces  # noqa: F401 # fixtures
from rules_lab import mesh_of  # noqa: F401 # a fixture
from siit_lab import namespaces  # noqa: F401 # a fixture
from siit_path_lab import path  # noqa: F401 # a fixture

from sdk.lab import Lab, LabError, check_machine, load_site, parse_topology

numbers = itertools.count()


@pytest.fixture(scope="session")
def lab_machine():
    """A machine that can carry labs; the test fails with what it lacks otherwise."""
    try:
        check_machine()
    except LabError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def lab_name(lab_machine):
    """A function that returns a lab's name that nobody else has."""
    return lambda: f"t{os.getpid()}-{next(numbers)}"


@pytest.fixture(scope="module")
def lab_of(lab_name):
    """A function that brings up a lab from a topology's text, ready to use; it ends with the module."""
    labs = []

    def bring_up(text, site=None, ready=True):
        topology = parse_topology(text, "the test's topology")
        known = load_site(site, topology.settings.pool) if site else None
        lab = Lab(topology, known, name=lab_name(), files=("", str(site or "")))
        labs.append(lab)
        lab.up()
        if ready:
            lab.wait_ready()
        return lab

    yield bring_up
    for lab in labs:
        lab.down()
