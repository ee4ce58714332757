# SPDX-License-Identifier: ISC
"""The main job, told as it happens: IPv4 clients on an IPv6-only mesh, its best exit dying and coming back.

Every check does what a person would do on the phone or on a router, and says how long it took. The checks go to
standard output, the result to build/demo.json: {"checks": [{"name", "ok", "detail", "ms"}…], "passed", "failed"}.
"""

import json
import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from prefixd.choice import MARGIN
from runtime.usage import Parser
from sdk.checks import CheckRun, DemoError
from sdk.demo_families import check_both_families
from sdk.demo_mostly import check_mostly, with_mostly
from sdk.demo_roaming import check_roaming
from sdk.interrupt import handle_requests
from sdk.lab import (
    DNS,
    ECHO,
    WEB,
    Lab,
    LabError,
    SiteError,
    Topology,
    TopologyError,
    check_machine,
    load_site,
    load_topology,
    topology_file,
)
from sdk.lab.__main__ import add_rules_option, use_rules
from sdk.lab.machine import die_with_parent
from sdk.lab.packaged import IPK
from sdk.lab.plan import clatnodes
from sdk.lab.process_table import LAB, processes
from sdk.phone import FAILOVER_S, Phone, choose_phone

REPOSITORY = Path(__file__).resolve().parent.parent
DOWNLOAD_BYTES = 50_000_000
REDUCED_MTU = 1280  # bytes; the smallest that IPv6 allows
STEADY_S = 1.0  # without a change in metrics, beyond the interval of babel's hellos
LAB_DEVICE = re.compile(r"(mesh|wan)\d*|clat|plat|br-client|local-(node|port)")
RETURN_S = 120.0  # for babel to find a node that booted, and for prefixd's hold time


# Each of these is one check: it returns the detail to print, or raises.


def leases(lab: Lab) -> str:
    lab.wait_ready()
    found = lab.leases()
    doubles = {address for address in found.values() if list(found.values()).count(address) > 1}
    if doubles:
        raise DemoError(f"two clients got {' and '.join(sorted(doubles))}")
    return ", ".join(f"{client} {address}" for client, address in found.items())


def choice(lab: Lab, node: str) -> str:
    status = lab.prefixd_status(node)
    if not status.get("chosen"):
        raise DemoError(f"no PLAT: {status.get('why', 'prefixd does not answer')}")
    return f"{lab.plat_of(node)}: {status['why']}"


def all_chosen(lab: Lab) -> str:
    """Wait until every clatnode knows every exit that it has a way to, and has nothing left to act on."""
    begun = time.monotonic()
    nodes = [node.name for node in clatnodes(lab.topology)]
    wanted = {node: len(lab.topology.exits_of(node)) for node in nodes}
    steady_s = lab.topology.settings.hello_interval_ms / 1000 + STEADY_S
    steady_since: dict[str, float] = {}
    seen: dict[str, list] = {}
    told = begun
    while time.monotonic() < begun + RETURN_S:
        for node in nodes:
            plats = lab.prefixd_status(node).get("plats", [])
            picture = sorted((plat["prefix"], plat["metric"], plat["chosen"]) for plat in plats)
            if picture != seen.get(node) or not has_chosen(plats, wanted[node]):
                seen[node], steady_since[node] = picture, time.monotonic()
        if min(time.monotonic() - since for since in steady_since.values()) > steady_s:
            known = " or ".join(str(number) for number in sorted(set(wanted.values())))
            return f"every clatnode knows {known} and has chosen"
        if time.monotonic() > told + 5:
            told = time.monotonic()
            unsteady = [node for node in nodes if told - steady_since[node] < steady_s]
            lab.log(f"waiting for babel's metrics and prefixd's hold time at {', '.join(unsteady)}")
        time.sleep(0.3)
    raise DemoError(f"after {RETURN_S:g} s the clatnodes still learn of exits or change their choice")


def has_chosen(plats: list[dict], wanted: int) -> bool:
    """Whether all the wanted exits are known and none is better by the margin that makes prefixd change."""
    chosen = [plat["metric"] for plat in plats if plat["chosen"]]
    return (
        len(plats) >= wanted and bool(chosen) and chosen[0] < min(plat["metric"] for plat in plats) + MARGIN
    )


def ping(lab: Lab, phone: Phone) -> str:
    done = lab.exec(phone.name, ["ping", "-c", "3", "-i", "0.2", "-W", "2", WEB], check=False)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        raise DemoError(lines[-1] if lines else done.stderr.strip())
    return f"{WEB}: {lines[-2].split(',')[1].strip()}, {lines[-1]}"


def dns(lab: Lab, phone: Phone) -> str:
    done = lab.exec(
        phone.name, ["python", "-c", "import socket; print(socket.gethostbyname('www.example.net'))"]
    )
    if done.stdout.strip() != WEB:
        raise DemoError(f"www.example.net is {done.stdout.strip()}, expected {WEB}")
    return f"www.example.net is {WEB}, says {DNS}"


@contextmanager
def reduced_mtu(lab: Lab, node: str):
    """While it lasts, the mesh links of a node have the smallest MTU of IPv6."""
    links = [lab.cables[link.name] for link in lab.topology.links if node in (link.a, link.b)]
    for cable in links:
        for end in (cable.a, cable.b):
            lab.exec(end.machine, ["ip", "link", "set", end.device, "mtu", str(REDUCED_MTU)])
    try:
        yield
    finally:
        for cable in links:
            for end in (cable.a, cable.b):
                lab.exec(end.machine, ["ip", "link", "set", end.device, "mtu", str(cable.mtu)])


def path_mtu(lab: Lab, phone: Phone) -> str:
    """A router inside the IPv6 mesh answers packets that do not fit. The phone must get this error in IPv4."""
    plat = phone.plat()
    if plat is None:
        raise DemoError("no PLAT to squeeze")
    with reduced_mtu(lab, plat):
        # a download first: the server, too, must learn that its segments are too long
        fetched = phone.download(5_000_000)
        # the largest that the CLAT takes, so that it is the mesh that refuses it
        size = ["-s", str(lab.site.mesh_mtu - 20 - 28)]
        lab.exec(phone.name, ["ping", "-M", "do", "-c", "2", "-i", "0.2", "-W", "1", *size, WEB], check=False)
        route = lab.exec(phone.name, ["ip", "route", "get", WEB]).stdout
        mtu = int(route.split("mtu ")[1].split()[0]) if "mtu " in route else 1500
        if mtu != REDUCED_MTU - 20:
            raise DemoError(f"the phone believes in a path MTU of {mtu}, expected {REDUCED_MTU - 20}")
        fits = ["-s", str(REDUCED_MTU - 20 - 28)]
        lab.exec(phone.name, ["ping", "-M", "do", "-c", "1", "-W", "2", *fits, WEB])
    return f"mesh at {plat} {REDUCED_MTU}: the phone learned {mtu}; {fetched}"


def fragments(phone: Phone) -> str:
    answer = phone.do("udp-echo", ECHO, "7", "4000")
    if not answer["same"]:
        raise DemoError(f"{answer['bytes']} of 4000 bytes came back after {answer['attempts']} attempts")
    return f"4000 bytes there and back in fragments, {answer['seconds'] * 1000:.0f} ms"


def exit_fails(lab: Lab, phone: Phone, used: str) -> str:
    """Power off the platnode in use while a download runs through it."""
    url = f"http://{WEB}/bytes/{10**11}"
    running = lab.popen(phone.name, ["curl", "-s", "-o", "/dev/null", url], stdout=subprocess.DEVNULL)
    try:
        time.sleep(1)  # the failure must meet a connection that carries data
        if running.poll() is not None:
            raise DemoError("the download ended by itself before the platnode was off")
        killed_s = time.monotonic()
        lab.kill(used)
        took_s = phone.connect_anew(killed_s, 30)
    finally:
        running.kill()
        running.wait()
    if took_s > FAILOVER_S:
        raise DemoError(f"new connections only after {took_s:.1f} s, expected {FAILOVER_S:g} s at the most")
    return f"{used} powered off; new connections through {phone.plat()} after {took_s:.1f} s"


def exit_returns(lab: Lab, phone: Phone, old: str) -> str:
    lab.start(old)
    begun = time.monotonic()
    detail = all_chosen(lab)
    plats = lab.prefixd_status(phone.node)["plats"]
    metrics = {lab.plat_name(plat["prefix"]): plat["metric"] for plat in plats}
    used = lab.plat_of(phone.node)
    if used is None or metrics[used] >= metrics[old] + MARGIN:
        raise DemoError(
            f"{phone.node} uses {used} (metric {metrics.get(used or '')}), {old} has {metrics[old]}"
        )
    phone.connect_anew(time.monotonic(), 5)
    return f"{detail}; {phone.node} uses {choice(lab, phone.node)} ({time.monotonic() - begun:.0f} s)"


def no_exit_left(lab: Lab, phone: Phone, plats: list[str]) -> str:
    """With no exit at all a client is told at once, rather than left waiting."""
    for plat in plats:
        lab.kill(plat)
    begun = time.monotonic()
    while time.monotonic() < begun + 30:
        answer = phone.do("connects", ECHO, "7", "0.5", timeout_s=20)
        if answer["refusals"]:
            return f"network unreachable {time.monotonic() - begun:.1f} s after the last exit failed"
    raise DemoError("the phone was left in silence for 30 s")


def nothing_left(lab: Lab, before: set[str]) -> str:
    lab.down()
    deadline = time.monotonic() + 60
    while (left := traces(lab.name) - before) and time.monotonic() < deadline:
        time.sleep(0.05)  # the kernel ends processes in its own time
    if left:
        raise DemoError(f"left behind: {', '.join(sorted(left))}")
    return "no process of the lab, no device and no mount of its kind"


def traces(name: str) -> set[str]:
    """What a lab of this name could leave on this machine, in words. Others may run beside it and are not meant."""
    mounts = (line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines())
    return {
        *(f"process {process.pid}" for process in processes() if process.environ.get(LAB) == name),
        *(f"device {device}" for device in os.listdir("/sys/class/net") if LAB_DEVICE.match(device)),
        *(f"mount {path}" for path in mounts if path == "/run/log"),
    }


def need_clients(topology: Topology) -> None:
    """Raise LabError for a topology that the checks cannot use."""
    if not topology.clients:
        raise LabError("the topology has no client, and the checks need one: add [clients.phone]")
    for node in clatnodes(topology):
        if not topology.exits_of(node.name):
            raise LabError(
                f"no link leads from {node.name} to a node of the role plat or both: it would wait for IPv4 in vain"
            )


def run_checks(lab: Lab, checks: CheckRun, keep: bool) -> None:
    """Run all checks on a lab that is up."""
    checks.check("leases", lambda: leases(lab))
    checks.check("exits", lambda: all_chosen(lab))
    phone = Phone(lab, choose_phone(lab))
    for node in clatnodes(lab.topology):
        checks.check(f"PLAT of {node.name}", partial(choice, lab, node.name))
    checks.check("ping", lambda: ping(lab, phone))
    checks.check("DNS", lambda: dns(lab, phone))
    checks.check("HTTP download", lambda: phone.download(DOWNLOAD_BYTES))
    checks.check("path MTU", lambda: path_mtu(lab, phone))
    checks.check("UDP fragments", lambda: fragments(phone))
    plats = lab.topology.exits_of(phone.node)
    used = phone.plat()
    if len(plats) > 1 and used not in (None, phone.node):
        checks.check("the exit in use fails", lambda: exit_fails(lab, phone, str(used)))
        checks.check("download after the change", lambda: phone.download(DOWNLOAD_BYTES // 5))
        checks.check("the exit returns", lambda: exit_returns(lab, phone, str(used)))
    else:
        checks.say(f"      one exit in reach of {phone.node}: nothing that could take over from it")
    if lab.topology.settings.roaming:
        check_roaming(lab, checks, phone)
        check_both_families(lab, checks, phone)
    if lab.topology.settings.mostly:
        check_mostly(lab, checks, phone)
    if not keep and phone.node not in plats:
        checks.check("no exit at all", lambda: no_exit_left(lab, phone, plats))


def next_steps(lab: Lab, phone: str) -> str:
    name = "" if lab.name == "lab" else f" --name {lab.name}"
    node = next(client.node for client in lab.topology.clients if client.name == phone)
    return f"""
The mesh stays up. To look around:
  bin/lab status{name}
  bin/lab shell{name} {phone}                      then: ping {WEB}, curl http://{WEB}/
  bin/lab exec{name} {node} prefixd --status
  bin/lab exec{name} {node} siit stat
To take it down:
  bin/lab down{name}"""


def watch(lab: Lab) -> None:
    """Show the lab in the browser, by a process that ends with it, and with this one at the latest."""
    words = [sys.executable, "-m", "sdk.lab", "watch", "--name", lab.name]
    subprocess.Popen(words, cwd=REPOSITORY, stdin=subprocess.DEVNULL, preexec_fn=die_with_parent(os.getpid()))


def prepare_result_file(path: str) -> Path:
    """Return the file for the result, which is not there: one of an earlier run would be taken for this one's."""
    file = Path(path)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
        file.unlink()
    except OSError as error:
        raise LabError(f"{path} cannot be written: {error.strerror}") from None
    return file


def main() -> int:
    parser = Parser(
        prog="python -m sdk.demo", description="IPv4 through an IPv6-only mesh, end to end on this machine."
    )
    parser.add_argument(
        "--topology", default="diamond", help="a topology file, or one that ships (default diamond)"
    )
    parser.add_argument(
        "--site", default=str(REPOSITORY / "sdk/lab/site.conf"), help="a Gluon site.conf or domain file"
    )
    add_rules_option(parser)
    parser.add_argument("--keep", action="store_true", help="leave the mesh up at the end")
    parser.add_argument("--watch", action="store_true", help="show it in the browser: prints the address")
    parser.add_argument(
        "--from-packages",
        type=Path,
        nargs="?",
        const=IPK,
        metavar="DIR",
        help="nodes run what `make ipk` has built, or other packages",
    )
    parser.add_argument("--json", default=str(REPOSITORY / "build/demo.json"), help="where the result goes")
    arguments = parser.parse_args()
    use_rules(arguments)
    handle_requests()
    checks = CheckRun(colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ)
    lab = None
    try:
        check_machine()
        result_file = prepare_result_file(arguments.json)
        topology = with_mostly(load_topology(arguments.topology))
        need_clients(topology)
        site = load_site(arguments.site, topology.settings.pool)
        name = "lab" if arguments.keep else f"demo-{os.getpid()}"
        before = traces(name)
        lab = Lab(
            topology,
            site,
            name=name,
            log=checks.say,
            files=(str(topology_file(arguments.topology)), arguments.site),
            from_packages=arguments.from_packages,
        )
        checks.say(
            f"{len(topology.nodes)} nodes, {len(topology.clients)} clients; clients {site.prefix4}, CLAT "
            f"{site.clat_range}, PLAT {site.plat_range}, mesh MTU {site.mesh_mtu}"
        )
        lab.up(persistent=arguments.keep)
        if arguments.watch:
            watch(lab)
        run_checks(lab, checks, arguments.keep)
        if arguments.keep:
            print(next_steps(lab, choose_phone(lab)))
            lab = None
        else:
            checks.check("nothing left behind", lambda: nothing_left(lab, before))
    except (LabError, SiteError, TopologyError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: interrupted, the mesh is taken down", file=sys.stderr)
        return 130
    finally:
        if lab:
            lab.down()
    result = checks.result()
    result_file.write_text(json.dumps(result, indent=1) + "\n")
    print(f"\n{result['passed']} checks passed, {result['failed']} failed: {os.path.relpath(result_file)}")
    return 1 if result["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
