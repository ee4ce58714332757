# SPDX-License-Identifier: ISC
"""A plan as the native configuration of a system, for those who want no daemon and no Python there. Pure.

Each module has render(plan, place) -> files; TARGETS names them as the command line does.
"""

from collections.abc import Callable

from reach.plan import Plan
from reach.render import debian, desktop, entware, openwrt, systemd, wgquick
from reach.render.commands import File, Place, RenderError

__all__ = ["TARGETS", "File", "Place", "RenderError"]

TARGETS: dict[str, Callable[[Plan, Place], list[File]]] = {
    "openwrt": openwrt.render,
    "debian": debian.render,
    "systemd": systemd.render,
    "wg-quick": wgquick.render,
    "entware": entware.render,
    "desktop": desktop.render,
}
