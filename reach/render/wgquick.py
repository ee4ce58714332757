# SPDX-License-Identifier: ISC
"""For wg-quick and the apps that read its files: one file for each WireGuard link.

What is not WireGuard (a bridge, a firewall) goes into PostUp and PreDown of the first. The private key is read from
its file when the link comes up, so that the rendered file may be shown to others; an app on a phone needs it inside,
and `reach render --with-private-key` makes a file for it.
"""

from dataclasses import replace

from reach.firewall import ruleset_text
from reach.plan import Plan, Wg
from reach.render import flows, systemd
from reach.render.commands import (
    Command,
    File,
    Place,
    RenderError,
    all_or_nothing,
    commands,
    configs,
    dns,
    undo_file,
)

FOLDER = "/etc/wireguard"


def render(plan: Plan, place: Place) -> list[File]:
    links = wg_links(plan)
    files = []
    for number, link in enumerate(links):
        rest = others(plan, place, links) if number == 0 else []
        # not `DNS =`, for which wg-quick needs resolvconf, and takes the link down where there is none
        rest += [dns(each) for each in plan.dns if each.device == link.name]
        files += [undo_file(place.undo(link.name), rest)] if rest else []
        files.append(File(f"{FOLDER}/{link.name}.conf", config(plan, place, link, rest), 0o600))
    if plan.firewall:
        files += [File(place.ruleset, ruleset_text(plan.firewall)), *flows.files(plan, place)]
    return files + configs(plan, place) + systemd.service_units(plan, place)


def render_for_app(plan: Plan, place: Place) -> list[File]:
    """With the private key inside and without commands, which apps refuse; they make routes of AllowedIPs."""
    if plan.end not in place.keys.private:
        raise RenderError(f"the private key of {plan.end} is not here; it stays on its machine: render there")
    key = place.keys.private[plan.end]
    return [
        File(f"{FOLDER}/{link.name}.conf", config(plan, place, link, [], key), 0o600)
        for link in wg_links(plan)
    ]


def wg_links(plan: Plan) -> list[Wg]:
    links = [device for device in plan.devices if isinstance(device, Wg)]
    if not links:
        raise RenderError(f"{plan.end} has no wireguard link; choose another target")
    return links


def others(plan: Plan, place: Place, links: list[Wg]) -> list[Command]:
    """All commands that wg-quick does not carry out itself; policy routing for a link that takes all, it does."""
    inside = {link.name for link in links}
    taking = {link.name: link.mark for link in links if link.mark}
    others = [rule for rule in plan.rules if rule.mark not in taking.values() and not rule.suppresses_default]
    specific = [
        rule
        for rule in plan.rules
        if rule.suppresses_default and any(r.family == rule.family for r in others)
    ]
    rest = replace(
        plan,
        devices=tuple(device for device in plan.devices if device not in links),
        addresses=tuple(each for each in plan.addresses if each.device not in inside),
        routes=tuple(each for each in plan.routes if each.device not in taking),
        rules=(*specific, *others),
        dns=(),
    )
    return commands(rest, place)


def config(plan: Plan, place: Place, link: Wg, rest: list[Command], key: str | None = None) -> str:
    lines = ["# SPDX-License-Identifier: ISC", f"# rendered by reach for {plan.end}", "[Interface]"]
    lines += [f"Address = {each.interface}" for each in plan.addresses if each.device == link.name]
    lines += [f"ListenPort = {link.port}"] if link.port else []
    lines += [f"MTU = {link.mtu_bytes}"]
    lines.append(
        f"PrivateKey = {key}" if key else f"PostUp = wg set %i private-key {place.private_key(plan.end)}"
    )
    for each in plan.dns:
        if each.device == link.name and key:
            lines.append(
                f"DNS = {', '.join([*map(str, each.servers), *([each.domain] if each.domain else [])])}"
            )
    lines += [] if link.mark or key else ["Table = off"]
    undo = place.undo(link.name)
    lines += [f"PostUp = {line}" for line in all_or_nothing(rest, undo)]
    lines += [f"PreDown = sh {undo}"] if rest else []
    for peer in link.peers:
        lines += ["", "[Peer]", f"# {peer.end}", f"PublicKey = {place.public_key(peer.end)}"]
        lines += [f"AllowedIPs = {', '.join(map(str, peer.allowed))}"]
        lines += [f"Endpoint = {peer.endpoint}"] if peer.endpoint else []
        lines += [f"PersistentKeepalive = {peer.keepalive_s}"] if peer.keepalive_s else []
    return "\n".join(lines) + "\n"
