# SPDX-License-Identifier: ISC
"""Checks of a Gluon root: its upgrade scripts run again and again to one result."""

from sdk.router.mesh import CheckError, Mesh

CONFIG = 'cd /etc/config && for file in *; do sed "s|^|$file: |" "$file"; done'


def reconfigured(mesh: Mesh) -> str:
    """`gluon-reconfigure` twice: the second changes nothing."""
    for node in mesh.nodes:
        mesh.sh(node, "gluon-reconfigure", 300)
        first = mesh.sh(node, CONFIG)
        mesh.sh(node, "gluon-reconfigure", 300)
        changed = sorted(set(first.splitlines()) ^ set(mesh.sh(node, CONFIG).splitlines()))
        if changed:
            raise CheckError(
                f"{node}: the second gluon-reconfigure changed {len(changed)} lines: {changed[0]}"
            )
    return "twice, to one result"
