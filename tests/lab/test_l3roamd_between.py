# SPDX-License-Identifier: ISC
"""A node of the C l3roamd between two of ours passes on what they say to each other.

Set L3ROAMD as for test_l3roamd_interop.py; without it the tests are skipped.
"""

import json
from pathlib import Path

from meshes import mesh_text
from talk import Talk
from test_l3roamd_interop import L3ROAMD, pytestmark  # noqa: F401 what they need
from waiting import wait_until

from xlat464.address import format_ipv6, format_mac
from xlat464.node import management_address, node_client_address

ASK = """
import socket
s = socket.socket(socket.AF_UNIX); s.settimeout(2); s.connect('/run/c.sock')
s.sendall(b'get_clients\\n')
while data := s.recv(4096): print(data.decode(), end='')
"""
OWN = mesh_text("a=clat c=clat b=both", "a-c c-b", "phone=a", roaming="true", hello_interval_ms=500)


def run_c(lab, node):
    """Have a node run the C daemon."""
    lab.running.stop(node, "l3roamd")
    prefix = str(lab.site.node_client_prefix6)
    lab.exec(node, ["l3roamd_py", "flush", "--node-client-prefix", prefix])
    own = format_ipv6(management_address(lab.plan.clat_prefix(lab.node(node))))
    shown = lab.exec(node, ["ls", "/sys/class/net"]).stdout.split()
    devices = [word for device in shown if device.startswith("mesh") for word in ("-m", device)]
    command = [str(Path(L3ROAMD).resolve()), "-v", "-a", own, "-p", str(lab.site.prefix6), "-P", prefix]
    command += ["-b", "br-client", "-i", "br-client", *devices, "-s", "/run/c.sock", "-t", "254"]
    lab.running.daemon(node, "c-l3roamd", command)
    wait_until(lambda: known(lab, node, "phone") is not None, what=f"the C daemon of {node}")


def known(lab, node, client):
    """A client as a C daemon knows it: {} for not at all, None if it does not answer."""
    answer = lab.exec(node, ["python", "-c", ASK], check=False)
    if answer.returncode:
        return None
    return json.loads(answer.stdout).get("clientlist", {}).get(format_mac(lab.client(client).mac), {})


def has_address(lab, node, client):
    prefix = lab.site.node_client_prefix6.network_address.packed
    own = format_ipv6(node_client_address(prefix, lab.client(client).mac))
    return own in lab.exec(node, ["ip", "-6", "addr", "show", "dev", "lo"]).stdout


def serving(lab, client, nodes):
    return [node for node in nodes if has_address(lab, node, client)]


def test_a_node_of_theirs_between_two_of_ours_passes_messages_on(lab_of):
    lab = lab_of(OWN)
    run_c(lab, "c")
    wait_until(lambda: lab.is_answered("phone"), what="the phone's answers")
    with Talk(lab, "phone") as talk:
        talk.echo()
        for node in ("b", "a", "b"):
            lab.roam("phone", node, hard=True)
            talk.echo()
            wait_until(
                lambda node=node: serving(lab, "phone", "abc") == [node], what=f"{node} having the phone"
            )
