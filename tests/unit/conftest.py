# SPDX-License-Identifier: ISC
"""A simulated mesh and a client that is at its first node; the shim with a model of the kernel module."""

import pytest
from l3roamd_mesh import Mesh, make_client
from nat46_module import ModuleTarget

from nat46 import Translator


@pytest.fixture
def mesh():
    return Mesh()


@pytest.fixture
def client(mesh):
    client = make_client(9, 1)
    mesh.join(client, mesh.nodes[0])
    mesh.run(2)
    return client


@pytest.fixture
def target():
    return ModuleTarget()


@pytest.fixture
def translator(target):
    return Translator(target)
