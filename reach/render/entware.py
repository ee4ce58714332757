# SPDX-License-Identifier: ISC
"""For NAS systems with Entware: an init script, wireguard-go, and iptables where the kernel has no nftables."""

from dataclasses import replace
from pathlib import PurePosixPath

from reach import supervisor
from reach.plan import Plan, Service, Wg
from reach.render import flows, iptables
from reach.render.commands import File, Place, commands, configs, service_words, services

SCRIPT = "/opt/etc/init.d/S62reach"
FOLDER = PurePosixPath("/opt/etc/reach")
SUPERVISOR = "supervisor.sh"


def render(plan: Plan, place: Place) -> list[File]:
    place = replace(place, folder=FOLDER)
    # these kernels have no WireGuard
    devices = tuple(replace(d, is_userspace=True) if isinstance(d, Wg) else d for d in plan.devices)
    plan = replace(plan, devices=devices)
    found = [(each.up, each.down) for each in commands(plan, place, with_firewall=False)]
    files = flows.files(plan, place)
    again = f"sh {place.flows}"
    found += [(":", f"{again} down")] if files else []
    for family, program in ((4, "iptables"), (6, "ip6tables")):
        text = iptables.restore_text(plan.firewall, family)
        if text:
            path = str(FOLDER / f"{program}.rules")
            files.append(File(path, text))
            found.append((f"{program}-restore --noflush <{path}", None))
            found += iptables.jumps(plan.firewall, family)
    found += [(again, None)] if flows.has_flows(plan.firewall) else []
    started = services(plan, place)
    files += [File(str(FOLDER / SUPERVISOR), supervisor.SCRIPT)] if started else []
    found += [running(service, place) for service in started]
    return [File(SCRIPT, script(plan.end, found), 0o755), *files, *configs(plan, place)]


def running(service: Service, place: Place) -> tuple[str, str]:
    """A program and its supervisor; the supervisor has to go first, or it would start the program again."""
    name, words = f"/opt/var/run/reach-{service.name}", " ".join(service_words(service, place))
    start = f"sh {FOLDER / SUPERVISOR} {name} {words} & echo $! >{name}.supervisor"
    ends = f"""kill "$(cat {name}.supervisor)"; kill "$(cut -d ' ' -f 1 {name}.pid)\""""
    return start, f"{ends}; rm -f {name}.supervisor {name}.pid"


def script(end: str, found: list[tuple[str, str | None]]) -> str:
    """When the first command fails, all of it was there before; when another does, those before it are taken back."""
    ups = [f"\t{up}\n" for up, _ in found]
    ups[1:1] = ["\ttrap stop EXIT\n"]
    downs = "".join(f"\t{down}\n" for _, down in reversed(found) if down)
    return f"""\
#!/bin/sh
# SPDX-License-Identifier: ISC
# rendered by reach for {end}
PATH=/opt/sbin:/opt/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

start() {{
	set -e
{"".join(ups)}	trap - EXIT
}}

stop() {{
	set +e
{downs}	:
}}

case "${{1:-}}" in
start) start ;;
stop) stop ;;
restart)
	stop
	start
	;;
*)
	echo "usage: $0 start|stop|restart" >&2
	exit 2
	;;
esac
"""
