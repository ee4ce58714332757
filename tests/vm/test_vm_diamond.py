# SPDX-License-Identifier: ISC
"""The lab's diamond on the machine's kernel: clients have IPv4 and roam, and the better exit may die.

It runs once with siit, where the platnode in the south has Jool (Debian's jool-dkms, built for this kernel by
`python -m sdk.vm.modules jool`). It runs once more with nat46, if NAT46_KO names its module. Links use netem.
"""

import json

import pytest
from conftest import load, load_nat46
from talk import Talk
from waiting import wait_until

from sdk.lab import ECHO, WEB
from sdk.lab.plan import Plan
from sdk.lab.topology_reader import topology_file

BYTES = 300_000
PATIENCE_S = 120  # of who says a line
LAPTOP = '[clients.laptop]\nnode = "a"\n'  # two clients will do


@pytest.fixture(scope="module", params=["siit", "nat46"])
def lab(request, lab_modules, lab_of):
    load("jool") if request.param == "siit" else load_nat46()
    text = topology_file("diamond").read_text()
    assert LAPTOP in text
    text = text.replace(LAPTOP, "") + f'\n[lab]\ntranslator = "{request.param}"\n'
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "siit":
            patch.setattr(Plan, "role_options", with_jool(Plan.role_options))
        yield lab_of(text)


def with_jool(role_options):
    return lambda plan, node: [
        *role_options(plan, node),
        *(["--engine", "jool"] if node.name == "south" else []),
    ]


@pytest.fixture
def jool(lab):
    """The diamond without its exit in the north: what the clients say goes through Jool."""
    if lab.topology.settings.translator != "siit":
        pytest.skip("this diamond has no Jool")
    wait_until(lambda: lab.plat_of("a") == "south", what="the change to south")
    return lab


def client(lab, name, *words):
    done = lab.exec(name, ["python", "-m", "sdk.client", *words], check=False)
    return json.loads(done.stdout or "{}")


def has_udp(lab, name, size_bytes):
    """It comes back whole; a busy machine may need more than the few seconds that the client gives it."""
    wait_until(
        lambda: client(lab, name, "udp-echo", ECHO, "7", str(size_bytes)).get("same"),
        what=f"an echo of {size_bytes} bytes at the {name}",
    )


def has_tcp(lab, name):
    wait_until(
        lambda: client(lab, name, "download", f"http://{WEB}/bytes/{BYTES}").get("bytes") == BYTES,
        what=f"a whole download at the {name}",
    )


def walk_and_return(lab, name="phone"):
    """Say a line on an open connection at a, at b, and at a again; each has to come back."""
    with Talk(lab, name, diagnostics, PATIENCE_S) as talk:
        for node in ("a", "b", "a"):
            if lab.node_of(name) != node:
                lab.roam(name, node)
            talk.echo(PATIENCE_S)
            wait_until(lambda: lab.serving(name), what=f"the {name} being served at {node}")


def diagnostics(lab):
    """What the roaming daemons say of it."""
    parts = []
    for node in ("a", "b", "north", "south"):
        said = lab.exec(node, ["tail", "-n", "15", "/run/log/l3roamd.log"], check=False).stdout
        status = lab.roaming_status(node)
        parts.append(f"{node}: {json.dumps(status.get('counters'))} {status.get('clients')}\n{said}")
    return "\n".join(parts)


def sessions(lab, protocol):
    """Jool's own table on the platnode: who did the translation."""
    (space,) = lab.exec("south", ["ip", "netns", "list"]).stdout.split()[:1]
    words = f"ip netns exec {space} jool -i 464xlat session display --{protocol} --numeric"
    return lab.exec("south", words.split()).stdout


def test_every_client_has_ipv4(lab):
    assert lab.wiring.has_netem, "the kernel's own links with delay"
    for each in lab.topology.clients:
        has_udp(lab, each.name, 1000)
        has_tcp(lab, each.name)


def test_an_open_connection_roams(lab):
    # babel may have told of the better one last, and prefixd holds on to what it has for a while
    wait_until(lambda: lab.plat_of("a") == "north", what="the change to north", deadline_s=180)
    walk_and_return(lab)


def test_the_better_exit_dies_and_the_other_serves(lab):
    lab.kill("north")
    wait_until(lambda: lab.plat_of("a") == "south", what="the change to south")
    with Talk(lab, "phone", diagnostics, PATIENCE_S) as talk:
        talk.echo(PATIENCE_S)


def test_jool_translates_tcp_udp_and_icmp(jool):
    # each at once: a session of ICMP is kept for a minute
    wait_until(lambda: jool.is_answered("phone"), what="an answer of the internet")
    assert "198.51.100" in sessions(jool, "icmp")
    has_udp(jool, "phone", 3000)  # in fragments
    assert "198.51.100" in sessions(jool, "udp")
    has_tcp(jool, "phone")
    assert "198.51.100" in sessions(jool, "tcp")


def test_an_open_connection_roams_in_front_of_jool(jool):
    walk_and_return(jool)


def test_a_reload_keeps_jools_sessions(jool):
    before = sessions(jool, "tcp")
    options = [*jool.plan.role_options(jool.node("south")), *jool.plan.plat_options()]
    jool.exec("south", ["464xlat", "plat", "up", *options])
    assert ECHO in before
    assert ECHO in sessions(jool, "tcp")
