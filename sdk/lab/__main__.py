# SPDX-License-Identifier: ISC
"""The command `lab`: bring a mesh up, look around in it, break it, take it down. The work is the package's."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from runtime.command import end_with
from runtime.usage import Parser
from sdk.interrupt import handle_requests, raise_missed
from sdk.lab import status
from sdk.lab.abilities import check_machine
from sdk.lab.lab import Lab
from sdk.lab.machine import LabError, Machines
from sdk.lab.packaged import IPK
from sdk.lab.plan import DNS, ECHO, WEB
from sdk.lab.process_table import INTERPRETER, RULES, TOPOLOGY, find_labs
from sdk.lab.readiness import READY_S
from sdk.lab.site import EXAMPLE, SiteError, load_site
from sdk.lab.topology import INTERPRETERS, Topology
from sdk.lab.topology import RULES as KINDS_OF_RULES
from sdk.lab.topology_reader import TOPOLOGIES, TopologyError, load_topology, topology_file

ABOUT = "A mesh of network namespaces on this machine: nodes, links, clients and an IPv4-only internet."
EXAMPLES = """\
from nothing, and back to it:
  lab up line                         a topology that ships, or a file of yours: line, diamond, mesh12
  lab status                          who is there, which PLAT each node uses and why
  lab exec laptop ping -c 3 198.51.100.80
  lab shell a                         a router's shell: babeld, siit, prefixd, ip, nft, tcpdump
  lab cut a-middle; lab heal a-middle a radio link dies without a word, and comes back
  lab kill exit; lab start exit       a node loses its power, and gets it back
  lab roam phone b                    a client walks on to another node
  lab down
several at once: lab up mesh12 --name big; lab status --name big; lab list
`lab COMMAND --help` tells more."""
UP_EXAMPLES = """\
The lab stays up until `lab down`. Ctrl-C before it is ready takes it down again.
  lab up diamond
  lab up diamond --from-packages      what routers will run, after `make ipk`
  lab up mesh12 --rules xtables       as on an image with iptables whose kernel has no nf_tables
  lab up my-mesh.toml --site my-community/site.conf --name mine
What a topology file may say is in sdk/lab/topology.py; the ones that ship are in sdk/lab/topologies."""
EXEC_EXAMPLES = """\
Standard input and output, and the exit status, are the command's own. The machines are the nodes, the clients
and `internet`; files are this machine's, but for /run, which each has for itself.
  lab exec laptop curl -s http://198.51.100.80/
  lab exec a prefixd --status
  lab exec exit siit stat plat
  lab exec a tcpdump -ni mesh0 -w - | wireshark -k -i -"""
NODE_EXAMPLES = (
    "`lab status` shows the nodes. A node that starts has forgotten everything, as after a power cut."
)
ROAM_EXAMPLES = """\
The client keeps MAC, address and open connections; the frames that reach it come from another node now. Whether the
connections go on is up to the roaming daemon. `lab status` shows where a client is.
  lab exec phone ping 198.51.100.80 &
  lab roam phone b; lab roam phone a --hard"""
WATCH_EXAMPLES = """\
Prints the page's address and goes on until Ctrl-C or `lab down`. The address has a secret in it: who knows it can move
clients, cut links and power nodes off. Each client gets a connection to the internet's echo server; its stalls are
shown."""
LINK_EXAMPLES = "`lab status` shows the links: mesh links, wan-NODE and client-NAME."


def parser() -> argparse.ArgumentParser:
    top = Parser(prog="lab", description=ABOUT, epilog=EXAMPLES)
    commands = top.add_subparsers(metavar="COMMAND", required=True)

    def add(
        name: str, run: Callable, help: str, epilog: str = "", named: bool = True
    ) -> argparse.ArgumentParser:
        described = help[0].upper() + help[1:] + "."
        command = commands.add_parser(name, help=help, description=described, epilog=epilog)
        command.set_defaults(run=run)
        if named:
            command.add_argument(
                "--name", default="lab", help="the lab's name, where several are up (default: lab)"
            )
        return command

    add_up_options(add("up", run_up, "bring a lab up and wait until its clients have IPv4", UP_EXAMPLES))
    add("down", run_down, "end a lab: its processes, namespaces and devices")
    show = add("status", run_status, "show nodes, links and clients of a lab")
    show.add_argument("--json", action="store_true", help="for programs")
    shell = add("shell", run_shell, "open a shell on a machine")
    shell.add_argument("machine", metavar="MACHINE")
    command = add("exec", run_exec, "run a command on a machine", EXEC_EXAMPLES)
    command.add_argument("machine", metavar="MACHINE")
    command.add_argument("command", metavar="CMD", nargs=argparse.REMAINDER)
    for name, act, help, plural in (
        ("cut", Lab.cut, "drop every frame of a link, both ways, without loss of carrier", LINK_EXAMPLES),
        ("heal", Lab.heal, "carry the frames of a link again", LINK_EXAMPLES),
        ("kill", Lab.kill, "power a node off, without a goodbye", NODE_EXAMPLES),
        ("start", Lab.start, "power a node on again", NODE_EXAMPLES),
    ):
        what = "link" if plural is LINK_EXAMPLES else "node"
        verb = add(name, run_verb, help, plural)
        verb.set_defaults(act=act)
        verb.add_argument("what", metavar=what.upper())
    roam = add("roam", run_roam, "walk a client to another node", ROAM_EXAMPLES)
    roam.add_argument("client", metavar="CLIENT")
    roam.add_argument("node", metavar="NODE")
    roam.add_argument("--hard", action="store_true", help="without a goodbye: the old node hears of nothing")
    roam.add_argument(
        "--renew", action="store_true", help="the client asks for its lease again, as phones do"
    )
    watch = add(
        "watch", run_watch, "show a lab in the browser, live, and let one move its clients", WATCH_EXAMPLES
    )
    watch.add_argument("--port", type=port, default=0, help="of 127.0.0.1 (default: any that is free)")
    add("list", run_list, "list the labs that are up and the topologies that ship", named=False)
    return top


def add_up_options(up: argparse.ArgumentParser) -> None:
    up.add_argument("file", metavar="FILE", help="a topology file, or the name of one that ships")
    up.add_argument(
        "--site", default=str(EXAMPLE), help="a Gluon site.conf or domain file (default: our example)"
    )
    add_rules_option(up)
    up.add_argument(
        "--from-packages",
        action="store_true",
        help="nodes run what `make ipk` has built, configured by the site, instead of this repository's files",
    )
    up.add_argument("--ipk", type=Path, default=IPK, metavar="DIR", help="the packages (default: build/ipk)")
    up.add_argument(
        "--wait", type=seconds, default=READY_S, metavar="S", help="seconds to wait for IPv4; 0: do not wait"
    )


def add_rules_option(command: argparse.ArgumentParser) -> None:
    """What `lab up` and the demo take: RULES and INTERPRETER in the environment, by options."""
    command.add_argument(
        "--rules",
        choices=KINDS_OF_RULES,
        help="firewall rules: nft; iptables for roles and roams (xtables); or iptables for roles, nf_tables for roams "
        "(default: the topology's, which is nft if it says nothing)",
    )

    command.add_argument(
        "--interpreter",
        choices=INTERPRETERS,
        help="what the roaming daemons run on: python (CPython); micropython; or every other node on each (mixed)",
    )


def use_rules(options: argparse.Namespace) -> None:
    if options.rules:
        os.environ[RULES] = options.rules
    if options.interpreter:
        os.environ[INTERPRETER] = options.interpreter


def seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"{text} is not 0 to 3600 seconds")
    return value


def lab_name(text: str) -> str:
    if not text or len(text) > 64 or not text.isprintable() or "/" in text:
        raise UsageError(
            f"the name {text!r} is no name for a lab, expected up to 64 printable characters without /"
        )
    return text


def run_up(options: argparse.Namespace) -> int:
    use_rules(options)
    topology = load_topology(options.file)
    site = load_site(options.site, topology.settings.pool)
    name = lab_name(options.name)
    check_machine()
    begun = time.monotonic()

    def say(sentence: str) -> None:
        print(f"{time.monotonic() - begun:6.1f} s  {sentence}", flush=True)

    files = str(topology_file(options.file)), options.site
    packages = options.ipk.resolve() if options.from_packages else None
    lab = Lab(topology, site, name=name, log=say, files=files, from_packages=packages)
    handle_requests()
    lab.up(persistent=True)
    try:
        if options.wait:
            lab.wait_ready(options.wait)
            say("every client has IPv4")
        raise_missed()
    except LabError as error:
        # it stays up, so that one can see why
        print(f"lab: {error}; it is up all the same, `lab down{named(name)}` ends it", file=sys.stderr)
        return 1
    except BaseException:
        lab.down()
        raise
    print(next_steps(topology, name))
    return 0


def named(name: str) -> str:
    return "" if name == "lab" else f" --name {name}"


def next_steps(topology: Topology, name: str) -> str:
    option, node = named(name), topology.nodes[0].name
    client = topology.clients[0].name if topology.clients else node
    first = next((link.name for link in topology.links), None)
    lines = [
        (f"lab status{option}", "who is there, and which PLAT each node uses"),
        (f"lab shell{option} {node}", "a shell on a node"),
        (f"lab exec{option} {client} ping {WEB}", f"or curl http://{WEB}/bytes/1000000"),
        *([(f"lab cut{option} {first}", "and `lab heal`")] if first else []),
        (f"lab down{option}", "the end of it"),
    ]
    width = max(len(command) for command, _ in lines)
    shown = [f"  {command:{width}}  # {what}" for command, what in lines]
    return "\n".join(
        [f"up. The internet has HTTP at {WEB}, DNS at {DNS}, echo at {ECHO} port 7. Look around:", *shown]
    )


def run_down(options: argparse.Namespace) -> int:
    Machines.find(options.name).end()
    return 0


def run_status(options: argparse.Namespace) -> int:
    found = status.describe(Lab.find(options.name))
    print(json.dumps(found, indent=2) if options.json else "\n".join(status.table(found)))
    return 0


def run_shell(options: argparse.Namespace) -> int:
    return become(options, ["bash", "--norc"])


def run_exec(options: argparse.Namespace) -> int:
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        raise UsageError("exec needs a command, like `lab exec laptop ip addr`")
    return become(options, command)


def become(options: argparse.Namespace, command: Sequence[str]) -> int:
    """Turn this process into the command on the machine; returns only if that fails."""
    machines = Machines.find(options.name)
    here = os.getcwd()
    is_its_own = Path(here).parts[1:2] and Path(here).parts[1] in ("run", "sys", "proc")  # the machine's
    if is_its_own or options.machine in machines.packaged:
        here = ""  # the machine's default
    argv = machines.into(options.machine, command, folder=here)
    sys.stdout.flush()
    os.execvpe(argv[0], argv, machines.environment(options.machine))


def run_verb(options: argparse.Namespace) -> int:
    options.act(Lab.find(options.name), options.what)
    return 0


def run_roam(options: argparse.Namespace) -> int:
    Lab.find(options.name).roam(options.client, options.node, hard=options.hard, renew=options.renew)
    return 0


def port(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port, expected 0 to 65535")
    return value


def run_watch(options: argparse.Namespace) -> int:
    from sdk.watch.run import watch_lab  # the other commands need no web server

    return watch_lab(options.name, options.port)


def run_list(options: argparse.Namespace) -> int:
    labs = find_labs()
    for name, process in sorted(labs.items()):
        print(f"up: {name}  (process {process.pid})  {process.environ.get(TOPOLOGY) or 'run by a program'}")
    if not labs:
        print("no lab is up")
    for path in sorted(TOPOLOGIES.glob("*.toml")):
        print(f"ships: {path.stem:8} {load_topology(path).description}")
    return 0


class UsageError(Exception):
    """The command line is wrong: one sentence."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        if options.run not in (run_up, run_list) and os.geteuid() != 0:
            raise LabError("the machines of a lab are root's: run this as root, or with sudo")
        return options.run(options)
    except (UsageError, TopologyError, SiteError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 2
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    end_with(main)
