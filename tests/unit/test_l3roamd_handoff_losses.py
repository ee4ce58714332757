# SPDX-License-Identifier: ISC
"""What a walk costs when all that a node sends at one moment is lost: docs/protocol.md has the table."""

import pytest
from l3roamd_mesh import CLAT_RANGE, Air, Mesh, check_converged, joined

from l3roamd_py.core import wire
from xlat464.node import management_address, node_prefix

STEP_S, LONGEST_S = 0.001, 10.0
PARTNERS = tuple(management_address(node_prefix(CLAT_RANGE, bytes((2, 0, 0, 0, 0, i)))) for i in (1, 2, 3))


class LossyMesh(Mesh):
    """It loses what one node sends at one moment. moments: when which node sent what, since one begins to count."""

    def __init__(self, lost: int, **options) -> None:
        self.lost, self.moments = lost, None
        super().__init__(**options)

    def carry(self, sender, target, datagram):
        if self.moments is not None and sender is not target:
            at = (self.now_s, sender.number)
            if at not in self.moments:
                self.moments[at] = []
            self.moments[at].append(wire.decode(datagram.payload)[1].TYPE)
            if list(self.moments).index(at) == self.lost:
                return
        super().carry(sender, target, datagram)


def plain(lost, **options):
    mesh = LossyMesh(lost, **options)
    client = joined(mesh)
    mesh.run(5)
    return mesh, client, 2


def home_again(lost, **options):
    mesh, client, _ = plain(lost, **options)
    mesh.move(client, mesh.nodes[1])
    mesh.run(8)
    return mesh, client, 1


def to_a_third(lost, **options):
    mesh, client, _ = home_again(lost, **options)
    return mesh, client, 3


def in_a_hurry(lost, **options):
    mesh, client, _ = plain(lost, **options)
    mesh.move(client, mesh.nodes[1])
    mesh.run(0.1)
    return mesh, client, 3


def before_babel(lost, **options):
    return in_a_hurry(lost, air=Air(convergence_s=5.0), **options)


def prepared(lost, **options):
    return plain(lost, partners=PARTNERS, **options)


def walk(kind, lost=-1):
    """Return how long the client is without its connections, and what was lost."""
    mesh, client, number = kind(lost)
    before = mesh.path(client)
    mesh.moments = {}
    mesh.move(client, mesh.nodes[number - 1])
    begun_s = mesh.now_s
    while mesh.path(client) != before:
        mesh.run(STEP_S)
        assert mesh.now_s < begun_s + LONGEST_S, f"{kind.__name__}: {lost} lost"
    took_s = mesh.now_s - begun_s
    mesh.run(0.5)  # INFO and ACK are on their way
    moments, mesh.moments = list(mesh.moments.values()), None
    mesh.run(15)
    check_converged(mesh, client)
    assert mesh.path(client) == before
    return took_s, moments


# what a loss costs, at most: the second copy leaves 30 ms after the first, or the other node's word is as good
WITHIN_S = 0.036


@pytest.mark.parametrize("kind", [plain, home_again, to_a_third, in_a_hurry, before_babel, prepared])
def test_what_is_lost_at_one_moment_costs_a_walk_no_more_than_the_next_copy(kind):
    usual_s, moments = walk(kind)
    assert usual_s <= 0.03
    assert any(wire.CLAIM in what for what in moments)
    assert any(wire.ROAM_ACK in what for what in moments)
    for lost, what in enumerate(moments):
        took_s, _ = walk(kind, lost)
        assert took_s <= usual_s + WITHIN_S, f"{what} lost"
