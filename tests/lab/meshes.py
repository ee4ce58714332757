# SPDX-License-Identifier: ISC
"""Meshes for labs, each in a line or two."""


def mesh_text(nodes, links, clients="", /, of_links="", hello_interval_ms=500, **settings):
    """Return a topology's text, ready for parse_topology. What is behind it belongs to the last client.

    nodes: `a=clat b=plat`; links: `a-b b-c`; clients: `phone=a`, each at a node; of_links: lines for each
    link; settings: of [lab].
    With babel's own interval of 4 s between hellos each mesh would need ten seconds until its nodes are neighbours.
    """
    settings["hello_interval_ms"] = hello_interval_ms
    lines = ["[lab]", *(f"{key} = {value}" for key, value in settings.items())]
    for name, role in (each.split("=") for each in nodes.split()):
        lines += [f"[nodes.{name}]", f'role = "{role}"']
    for one, other in (each.split("-") for each in links.split()):
        lines += ["[[links]]", f'between = ["{one}", "{other}"]', of_links]
    for name, node in (each.split("=") for each in clients.split()):
        lines += [f"[clients.{name}]", f'node = "{node}"']
    return "\n".join([*lines, ""])
