# SPDX-License-Identifier: ISC
"""The checks, in the order of a router's life, and how a run goes through them.

One that fails does not end a run: the next may find more. Where nothing can follow from one, as after an installation
that failed, those that build on it are left out and say so.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial

from sdk.checks import CheckRun
from sdk.router import check_gluon, check_lines, check_packages, check_services
from sdk.router.mesh import DNSMASQ, FIREWALL, GLUON, MANAGER, NETIFD, PROCD, REBOOT, CheckError, Mesh


@dataclass(frozen=True, slots=True)
class Check:
    """A row: its name, what it does, what a mesh needs for it, and whether all that follows builds on it."""

    name: str
    work: Callable[[Mesh], str]
    needs: Collection[str] = ()
    is_ground: bool = False


CHECKS = (
    Check("boot", check_packages.booted, [NETIFD], is_ground=True),
    Check("install", check_packages.installed, [MANAGER], is_ground=True),
    Check("settings", check_packages.set_up, [MANAGER], is_ground=True),
    Check("gluon-reconfigure", check_gluon.reconfigured, [GLUON]),
    Check("roles", check_packages.roles_up, is_ground=True),
    Check("ping", check_packages.client_online),
    Check("status", check_services.status_repeated),
    Check("running", check_services.shown_running, [PROCD]),
    Check("log-levels", check_services.log_levels, [PROCD]),
    Check("babel", check_packages.announced),
    Check("lease-time", check_services.lease_time, [DNSMASQ]),
    Check("reload", check_services.reloaded),
    Check("quiet", check_services.idle_log),
    Check("wan-down", check_lines.wan_down),
    Check("firewall-stop-start", check_lines.firewall_stopped, [FIREWALL]),
    Check("firewall-stopped", check_lines.firewall_gone, [FIREWALL]),
    Check("network-restart", check_lines.network_restarted, [NETIFD]),
    Check("ifdown-ifup", check_lines.interfaces_down, [NETIFD]),
    Check("new-device", check_lines.other_devices),
    Check("broken-uci", check_services.unreadable_config),
    Check("no-translator", check_services.translator_missing),
    Check("killed", check_services.daemons_killed),
    Check("reboot", check_lines.rebooted, [REBOOT]),
    Check("remove", check_packages.removed, [MANAGER]),
)
NAMES = tuple(check.name for check in CHECKS)


def chosen(only: Collection[str]) -> list[Check]:
    """Return the checks of these names and those that they build on; all of them if there are no names."""
    last = max((NAMES.index(name) for name in only), default=len(NAMES))
    return [
        check
        for position, check in enumerate(CHECKS)
        if not only or check.name in only or (check.is_ground and position <= last)
    ]


def run(mesh: Mesh, checks: CheckRun, only: Collection[str] = ()) -> list[str]:
    """Run the checks that a mesh is able to; return the names of those that were left out because one failed."""
    missed: list[str] = []
    broken = ""
    for check in chosen(only):
        if not is_for(check, mesh):
            continue
        if broken:
            missed.append(check.name)
            continue
        if not checks.check(check.name, partial(work_of, check, mesh)) and check.is_ground:
            broken = check.name
    if missed:
        checks.say(f"left out, for they build on {broken}: {', '.join(missed)}")
    return missed


def is_for(check: Check, mesh: Mesh) -> bool:
    """Whether a mesh is able to a check. A Gluon's are its own: it sets what the others would type."""
    return set(check.needs) <= mesh.abilities and (GLUON not in mesh.abilities or GLUON in check.needs)


def work_of(check: Check, mesh: Mesh) -> str:
    """Do a check. What it stumbles over in what a node says is a finding, not the end of the run."""
    try:
        return check.work(mesh)
    except (ValueError, KeyError, IndexError) as error:
        raise CheckError(
            f"a node said something else than expected: {type(error).__name__} {error}"
        ) from error
