# SPDX-License-Identifier: ISC
"""As systemd units: reach.service sets up and takes down, reach-NAME.service runs what stays."""

from reach.firewall import ruleset_text
from reach.plan import Plan, Service
from reach.render import flows
from reach.render.commands import Command, File, Place, commands, configs, service_words, services

UNITS = "/etc/systemd/system"
HARDENING = """\
NoNewPrivileges=yes
PrivateTmp=yes
ProtectHome=yes
ProtectSystem=strict
"""
# the relay needs a low port and nothing else of root's
RELAY_HARDENING = f"""\
DynamicUser=yes
AmbientCapabilities=CAP_NET_BIND_SERVICE
CapabilityBoundingSet=CAP_NET_BIND_SERVICE
RestrictAddressFamilies=AF_INET AF_INET6
MemoryDenyWriteExecute=yes
LimitNOFILE=65536
ExecReload=/bin/kill -HUP $MAINPID
{HARDENING}"""


def render(plan: Plan, place: Place) -> list[File]:
    files = [File(f"{UNITS}/reach.service", setup_unit(plan, commands(plan, place)))]
    if plan.firewall:
        files += [File(place.ruleset, ruleset_text(plan.firewall)), *flows.files(plan, place)]
    return files + configs(plan, place) + service_units(plan, place)


def line(key: str, text: str, needs_shell: bool, prefix: str = "") -> str:
    """A command in systemd's quoting: % and $ are its own."""
    escaped = text.replace("%", "%%").replace("$", "$$")
    if needs_shell:
        escaped = '/bin/sh -c "' + escaped.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"{key}={prefix}{escaped}\n"


def setup_unit(plan: Plan, found: list[Command]) -> str:
    text = f"""\
# SPDX-License-Identifier: ISC
[Unit]
Description=IPv4 through a rented server: the links of {plan.end}
Documentation=https://github.com/gluon-464xlat/gluon-464xlat
After=network-online.target
Wants=network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
"""
    for each in found:
        text += line("ExecStart", each.up, each.needs_shell)
    for each in reversed(found):
        if each.down:
            text += line("ExecStopPost", each.down, each.needs_shell, "-")
    return text + "\n[Install]\nWantedBy=multi-user.target\n"


def service_units(plan: Plan, place: Place, links: str = "reach.service") -> list[File]:
    """`links` is the unit that sets the links up."""
    return [
        File(f"{UNITS}/reach-{each.name}.service", service_unit(each, place, links))
        for each in services(plan, place)
    ]


def service_unit(service: Service, place: Place, links: str) -> str:
    hardening = RELAY_HARDENING if service.name == "relay" else HARDENING
    after = "network-online.target" if service.name == "relay" else links
    return f"""\
# SPDX-License-Identifier: ISC
[Unit]
Description=reach: {service.name}
After={after}
Wants={after}
StartLimitIntervalSec=0

[Service]
ExecStart={" ".join(service_words(service, place))}
Restart=always
RestartSec=2
{hardening}
[Install]
WantedBy=multi-user.target
"""
