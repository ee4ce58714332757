# SPDX-License-Identifier: ISC
"""A simulated mesh and a client that is at its first node."""

import pytest
from l3roamd_mesh import Mesh, make_client


@pytest.fixture
def mesh():
    return Mesh()


@pytest.fixture
def client(mesh):
    client = make_client(9, 1)
    mesh.join(client, mesh.nodes[0])
    mesh.run(2)
    return client
