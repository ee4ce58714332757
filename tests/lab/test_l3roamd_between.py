# SPDX-License-Identifier: ISC
"""A node of ours between two of version 0 passes on what they say to each other, and one of those between two of ours.

Those of version 0 are the C l3roamd where L3ROAMD names one (version0.py), and ours by its command line.
"""

import pytest
from meshes import mesh_text
from talk import Talk, diagnosis
from version0 import (
    BOTH,
    C_DAEMON,
    NEEDS_C,
    OURS,
    addresses,
    node_client,
    private,
    reaches,
    run,
    serving,
    speak,
)
from waiting import wait_until

from xlat464.address import format_mac

SETTINGS = {"roaming": "true"}
THREE = mesh_text(
    "c1=clat ours=both c2=clat", "c1-ours ours-c2", "phone=ours tablet=c2 laptop=ours", **SETTINGS
)
OWN = mesh_text("a=clat c=clat b=both", "a-c c-b", "phone=a", **SETTINGS)
LOSSY = mesh_text("ours=both c=clat", "ours-c", "phone=ours", of_links="loss_percent = 25", **SETTINGS)
UNUSED = 0x464  # of the clients' prefix: the number of an address that nobody makes itself


@pytest.fixture(scope="module", params=BOTH)
def outer(request):
    """Whose daemon c1 and c2 run."""
    return request.param


@pytest.fixture(scope="module")
def lab(lab_of, outer):
    lab = lab_of(THREE)
    for node in ("c1", "c2"):
        run(lab, node, outer)
    return lab


@pytest.fixture
def silent(lab):
    """A function that gives a client an address of which it says nothing, until the test's end."""
    given = []

    def give(client):
        address = f"{lab.site.prefix6[UNUSED + len(given)]}"
        lab.exec(client, ["ip", "-6", "addr", "add", f"{address}/64", "dev", "eth0", "nodad"])
        given.append((client, address))
        lab.exec(client, ["ping", "-c", "1", "-W", "1", str(lab.site.next_node_ip4)], check=False)
        return address

    yield give
    for client, address in given:
        lab.exec(client, ["ip", "-6", "addr", "del", f"{address}/64", "dev", "eth0"])


def known(lab, node, client):
    """A client's addresses at a node, whatever runs there."""
    if node != "ours":
        return set(addresses(lab, node, client))
    found = {each["mac"]: each["addresses"] for each in lab.roaming_status(node)["clients"]}
    return set(found.get(format_mac(lab.client(client).mac), []))


def waits(lab, client, is_so, what):
    """Wait for something about a client; a failure says what nodes and daemons know of it."""
    try:
        wait_until(is_so, what)
    except AssertionError as error:
        lines = [f"{error}; {serving(lab, client)} have the {client}", diagnosis(lab)]
        for node in (each.name for each in lab.topology.nodes):
            lines.append(f"{node}: {known(lab, node, client)}")
            for words in ("neigh show dev br-client", "route show", "route show table 10"):
                lines.append(lab.exec(node, ["ip", "-6", *words.split()], check=False).stdout)
            lines.append(lab.running.log(node, "babeld"))
            if C_DAEMON in lab.running.daemons()[node]:
                log = lab.running.log_file(node, C_DAEMON)
                lines.append(lab.exec(node, ["tail", "-n", "200", log]).stdout)
        raise AssertionError("\n".join(lines)) from None


def is_alone(lab, client, address, node):
    """Wait until a node alone has a client that speaks."""
    waits(
        lab,
        client,
        lambda: speak(lab, client, address) and serving(lab, client) == [node],
        f"{node} alone having the {client}",
    )


@NEEDS_C
@pytest.mark.parametrize(("client", "node"), [("tablet", "c2"), ("laptop", "ours")])
def test_a_client_that_says_nothing_is_found_from_beyond_our_node_and_at_it(lab, outer, silent, client, node):
    """c1 has a packet for it, and asks: who has it has to hear of that."""
    if outer == OURS:
        pytest.skip("for the C daemon")
    address = silent(client)
    wait_until(lambda: serving(lab, client) == [node], f"{node} serving the {client}")
    assert address not in known(lab, node, client)
    wait_until(lambda: reaches(lab, "c1", address), f"c1 reaching the {client}")
    assert address in known(lab, node, client)
    assert lab.roaming_status("ours")["counters"]["seeks"] >= 1


def test_a_client_walks_among_the_three_and_one_has_it(lab):
    address = private(lab, "phone")
    wait_until(lambda: speak(lab, "phone", address) and address in known(lab, "ours", "phone"), "it here")
    for node in ("c1", "c2", "ours", "c2", "c1", "ours", "c1"):
        lab.roam("phone", node)
        is_alone(lab, "phone", address, node)
        waits(
            lab,
            "phone",
            lambda node=node: address in known(lab, node, "phone"),
            f"{node} knowing its address",
        )
        for other in {"c1", "ours", "c2"} - {node}:
            waits(
                lab,
                "phone",
                lambda other=other: reaches(lab, other, address),
                f"{other} reaching it at {node}",
            )
            # the C daemon claims by babel's route alone, which may go round for seconds after a walk
            at = node_client(lab, "phone")
            waits(
                lab,
                "phone",
                lambda other=other, at=at: reaches(lab, other, at),
                f"{other} knowing who has it",
            )
    assert lab.roaming_status("ours")["counters"]["bugs"] == 0


def test_a_client_that_goes_from_ours_to_theirs_is_known_there_without_a_word(lab):
    """The C daemon uses no address in INFO: it is told each by SEEK, and the client answers."""
    address = private(lab, "laptop")
    wait_until(lambda: speak(lab, "laptop", address) and address in known(lab, "ours", "laptop"), "it here")
    lab.roam("laptop", "c2")
    lab.exec("laptop", ["ping", "-c", "1", "-W", "1", str(lab.site.next_node_ip4)], check=False)
    wait_until(lambda: address in known(lab, "c2", "laptop"), "c2 knowing its address", deadline_s=10)


@pytest.mark.parametrize("whose", BOTH)
def test_a_node_of_version_0_between_two_of_ours_passes_on_what_they_say(lab_of, whose):
    lab = lab_of(OWN)
    run(lab, "c", whose)
    wait_until(lambda: lab.is_answered("phone"), "the phone's answers")
    with Talk(lab, "phone") as talk:
        talk.echo()
        for node in ("b", "a", "b"):
            lab.roam("phone", node, hard=True)
            talk.echo()
            wait_until(lambda node=node: serving(lab, "phone") == [node], f"{node} having the phone")


@pytest.mark.parametrize("whose", BOTH)
def test_a_fourth_of_all_frames_may_be_lost(lab_of, whose):
    """What is lost is said again: CLAIM, INFO, ACK, and each address, in both directions."""
    lab = lab_of(LOSSY)
    run(lab, "c", whose)
    address = private(lab, "phone")
    wait_until(lambda: speak(lab, "phone", address) and address in known(lab, "ours", "phone"), "it here")
    for node in ("c", "ours") * 3:
        lab.roam("phone", node, hard=True)
        is_alone(lab, "phone", address, node)
        wait_until(lambda node=node: address in known(lab, node, "phone"), f"{node} knowing its address")
