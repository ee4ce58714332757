# SPDX-License-Identifier: ISC
"""Checks of the services: status, reload, a broken configuration, a missing translator, kills, idle time."""

import json
import re
import time
from functools import partial

from sdk.router.mesh import CheckError, Mesh

ASKED = 10
QUIET_LINES = 3  # that idle services of ours may log in 30 s
FORKS = 4  # programs a second that an idle node may start
CONFIG = "/etc/config/464xlat"
OURS = re.compile(r"\b(464xlat|supervise\.sh|siit|prefixd|l3roamd(-py|_py)?)(\[\d+\])?:")


def same_pids(mesh: Mesh, before: dict[tuple[str, str], frozenset[int]]) -> None:
    """Raise CheckError unless every service has the processes that it had."""
    now = mesh.all_pids()
    for (node, service), pids in before.items():
        if now[node, service] != pids or not pids:
            raise CheckError(
                f"{node}: {service} had the processes {sorted(pids)}, and now {sorted(now[node, service])}"
            )


def status_repeated(mesh: Mesh) -> str:
    """`service 464xlat status` ten times on each node: the same answer, and the same processes."""
    before = mesh.all_pids()
    for node in mesh.nodes:
        for _ in range(ASKED):
            done = mesh.status(node)
            if mesh.role_of(node) and done.status:
                raise CheckError(
                    f"{node}: status ends with {done.status}: {done.said.strip().splitlines()[-1]}"
                )
    same_pids(mesh, before)
    return f"{sum(map(len, before.values()))} processes, the same ones"


def reloaded(mesh: Mesh) -> str:
    """A reload without a change changes nothing."""
    before = mesh.all_pids()
    devices = {
        node: mesh.sh(node, "ip -o link show | grep -E ': (clat|plat):' | cut -d: -f1,2")
        for node in mesh.nodes
    }
    for node in mesh.nodes:
        mesh.sh(node, "/etc/init.d/464xlat reload")
    time.sleep(3)
    same_pids(mesh, before)
    for node, shown in devices.items():
        if mesh.sh(node, "ip -o link show | grep -E ': (clat|plat):' | cut -d: -f1,2") != shown:
            raise CheckError(f"{node}: a reload without a change made the device anew")
    mesh.wait_for_ping(30)
    return "the same processes and devices"


def daemons_killed(mesh: Mesh) -> str:
    """Each daemon is killed again and again; each time it comes back, and the client is online at the end."""
    for turn in range(1, mesh.options.kills + 1):
        before = mesh.all_pids()
        for (node, service), pids in before.items():
            if not pids:
                raise CheckError(f"{node}: {service} does not run, before it was killed for the {turn}. time")
            mesh.do(node, f"kill -9 {' '.join(map(str, pids))}")

        def are_back(before=before) -> bool:
            now = mesh.all_pids()
            return all(now[which] and not now[which] & pids for which, pids in before.items())

        mesh.wait(are_back, f"every daemon after it was killed for the {turn}. time", 60, 1)
    return f"{mesh.options.kills} times, {len(mesh.all_pids())} daemons; answered after {mesh.wait_for_ping(60):.1f} s"


def unreadable_config(mesh: Mesh) -> str:
    """A configuration file that cannot be parsed leaves the roles as they are; the status says why, and not with 0."""
    for node in (mesh.clatnode, mesh.platnode):  # whatever was done to it before
        mesh.wait(
            partial(mesh.is_healthy, node), f"{node}: a status of 0 with a file that can be read", 30, 1
        )
    before = mesh.all_pids()
    for node in (mesh.clatnode, mesh.platnode):
        mesh.sh(node, f'cp {CONFIG} /tmp/464xlat.kept; printf "\\noption broken \'no end\\n" >>{CONFIG}')
        try:
            mesh.do(node, "/etc/init.d/464xlat reload")
            time.sleep(3)
            done = mesh.status(node)
            if not mesh.is_up(node):
                raise CheckError(f"{node}: a quote without an end took the role down")
            if done.status == 0:
                raise CheckError(f"{node}: a quote without an end, and status ends with 0")
            if CONFIG not in done.said:
                raise CheckError(f"{node}: status does not say that {CONFIG} cannot be read")
        finally:
            mesh.sh(node, f"cp /tmp/464xlat.kept {CONFIG}; /etc/init.d/464xlat reload")
    same_pids(mesh, before)
    for node in (mesh.clatnode, mesh.platnode):
        mesh.wait(
            partial(mesh.is_healthy, node),
            f"{node}: a status of 0 with the mended file",
            30,
            1,
        )
    mesh.wait_for_ping(30)
    return "the roles stay, status says why"


def translator_missing(mesh: Mesh) -> str:
    """Without its translator a role is not up, and status says so, not with 0."""
    for node in (mesh.clatnode, mesh.platnode):
        mesh.sh(node, "/etc/init.d/siit stop")
        try:
            mesh.wait(
                partial(mesh.is_failing, node),
                f"{node}: siit is stopped, and a status that is not 0",
                30,
                1,
            )
        finally:
            mesh.sh(node, "/etc/init.d/siit start")
        mesh.wait(partial(mesh.is_healthy, node), f"{node}: a status of 0 with siit again", 60, 1)
    return f"answered after {mesh.wait_for_ping(60):.1f} s"


def idle_log(mesh: Mesh) -> str:
    """Nodes that have nothing to do log nothing, and start no programs again and again."""
    span_s = mesh.options.quiet_s
    logs = {node: mesh.log(node) for node in mesh.nodes}
    numbers = {node: last_pid(mesh, node) for node in mesh.nodes}
    time.sleep(span_s)
    told = []
    for node in mesh.nodes:
        forks = last_pid(mesh, node) - numbers[node]
        told.append(f"{node} {forks}")
        no_flood(mesh, node, logs[node], span_s)
        if forks > span_s * FORKS * (len(mesh.nodes) if mesh.share_pids else 1):
            raise CheckError(f"{node}: {forks} programs in {span_s:g} s on a node that has nothing to do")
    return f"programs in {span_s:g} s: {', '.join(told)}"


def no_flood(mesh: Mesh, node: str, before: list[str], span_s: float) -> None:
    """Raise CheckError if our services have logged more since then than an idle service does."""
    after = mesh.log(node)
    last = len(before)
    if before and before[-1] in after:  # older lines go when the log is full
        last = len(after) - after[::-1].index(before[-1])
    ours = [line for line in after[last:] if OURS.search(line)]
    if len(ours) > QUIET_LINES * max(1, span_s / 30):
        raise CheckError(f"{node}: {len(ours)} lines of log in {span_s:.0f} s, the last: {ours[-1]}")


def last_pid(mesh: Mesh, node: str) -> int:
    """Return the number of the process that a node started last."""
    return int(mesh.sh(node, "sh -c 'echo $$'").strip())


def log_levels(mesh: Mesh) -> str:
    """What goes well is not logged as an error."""
    for node in mesh.nodes:
        for line in mesh.log(node):
            is_error = re.search(r" \w+\.(err|crit|alert|emerg) ", line) and OURS.search(line)
            if is_error and re.search(r"\b(ready|is up|is down|started|begins|uses)\b", line):
                raise CheckError(f"{node}: no error, and logged as one: {line}")
    return "no good news among the errors"


def lease_time(mesh: Mesh) -> str:
    """What is left of the client's lease at dnsmasq is what the roaming daemon knows."""
    rows = mesh.sh(mesh.clatnode, "cat /tmp/dhcp.leases").split()
    if len(rows) < 3:
        raise CheckError(f"{mesh.clatnode}: dnsmasq has no lease")
    left_s = int(rows[0]) - time.time()

    def known() -> int:
        status = json.loads(mesh.sh(mesh.clatnode, "l3roamd_py status --json"))
        return next(
            (each.get("lease_s") or 0 for each in status.get("clients", []) if each["mac"] == rows[1]), 0
        )

    mesh.wait(
        lambda: abs(known() - left_s) < 120,
        f"the {left_s:.0f} s of dnsmasq at l3roamd_py, which knows {known()} s",
        10,
        1,
    )
    return f"{left_s:.0f} s"


def shown_running(mesh: Mesh) -> str:
    """`service` shows 464xlat as running while a role is up."""
    for node in (mesh.clatnode, mesh.platnode):
        said = mesh.do(node, "/etc/init.d/464xlat running && echo yes").said
        if "yes" not in said:
            raise CheckError(f"{node}: `service` shows 464xlat as stopped while its role is up")
    return "both"
