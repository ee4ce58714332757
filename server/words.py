# SPDX-License-Identifier: ISC
"""What programs are told of the configuration: variables for sh, command lines, lines for babeld and BIRD. No I/O.

settings: what a role is up with, {} while it is not: the words of /run/464xlat/ROLE.settings.
"""

import shlex
from collections.abc import Mapping

from server.conf import Conf
from server.keys import KEYS
from xlat464.address import format_ipv6, format_prefix6, parse_mac, parse_prefix6_of
from xlat464.node import NODE_LENGTH, management_address, node_prefix, parse_range

Settings = Mapping[str, str]
RUN = "/run"
LEASES = "/var/lib/misc/dnsmasq.leases"  # where Debian's dnsmasq has them
BABEL_PORT = 33123
DAEMONS = ("siit", "prefixd", "l3roamd-py")


def variables(conf: Conf) -> list[str]:
    """Return lines of sh: CONFIG_SECTION_OPTION, as OpenWrt's functions.sh names them; a list's values with spaces."""
    return [
        f"CONFIG_{section}_{option}={shlex.quote(conf.value(section, option).replace(',', ' '))}"
        for section, options in KEYS.items()
        for option in options
    ]


def settings_of(line: str) -> dict[str, str]:
    """Return what a role's line of settings says."""
    return dict(word.partition("=")[::2] for word in line.split())


def command(daemon: str, conf: Conf, mac: str, clat: Settings, plat: Settings) -> list[str]:
    """Return a daemon's command line; [] where it has nothing to do."""
    if daemon == "siit":
        return ["/usr/sbin/siit", "daemon", *_options(conf, "siit", *KEYS["siit"])]
    if daemon == "prefixd":
        return _prefixd(conf, clat, plat) if clat else []
    has_roles = bool(clat or plat) and conf.value("roaming", "node_client_prefix")
    return _l3roamd(conf, mac, clat, plat) if has_roles else []


def _options(conf: Conf, section: str, *options: str) -> list[str]:
    """Return what the file says itself; what it does not say the program knows better."""
    return [
        word
        for option in options
        if (section, option) in conf.given
        for word in (f"--{option.replace('_', '-')}", conf.value(section, option))
    ]


def _prefixd(conf: Conf, clat: Settings, plat: Settings) -> list[str]:
    source = management_address(parse_prefix6_of(NODE_LENGTH, clat["prefix"]))
    return [
        "/usr/sbin/prefixd",
        *("--plat-range", clat["plat_range"]),
        *("--clat", clat["device"], "--target", clat["target"]),
        *("--source", format_ipv6(source), "--hook", "464xlat clat-route"),
        *(["--own-plat", plat["prefix"]] if plat else []),
        *_options(conf, "prefixd", *KEYS["prefixd"]),
        *(["--l3roamd", f"{RUN}/l3roamd.sock"] if conf.value("roaming", "node_client_prefix") else []),
    ]


def _l3roamd(conf: Conf, mac: str, clat: Settings, plat: Settings) -> list[str]:
    def several(option: str) -> list[str]:
        return [word for value in conf.values("roaming", option) for word in (f"--{option}", value)]

    return [
        "/usr/sbin/l3roamd_py",
        "daemon",
        *("--socket", f"{RUN}/l3roamd.sock", "--state", f"{RUN}/l3roamd.state", "--mac", mac),
        *_options(conf, "node", "clat_range", "plat_range"),
        *_options(conf, "roaming", "node_client_prefix"),
        *several("prefix"),
        *(["--clat", "--clat-device", clat["device"], "--translator", clat["target"]] if clat else []),
        *(["--pref64", clat["pref64"]] if clat.get("pref64") else []),
        *(["--plat", "--plat-device", plat["device"]] if plat else []),
        *_options(conf, "roaming", "rules"),
        *_options(conf, "clat", "client_device"),
        *_options(conf, "roaming", "roam_auth", "send_on"),
        *(
            ["--max-lease", conf.value("roaming", "max_lease_s")]
            if conf.line("roaming", "max_lease_s")
            else []
        ),
        *several("prepare"),
        *several("mesh"),
        *("--lease-file", LEASES),
    ]


def babeld_lines(conf: Conf, has_port: bool) -> list[str]:
    """Return what babeld has to know beyond the admin's file: what of this node it announces.

    has_port: whether the admin's own file has a local interface, which prefixd reads. [] while no role is on.
    """
    roles = [role for role in ("clat", "plat") if conf.is_on(role)]
    if not roles:
        return []
    lines = [] if has_port else [f"local-port {BABEL_PORT}"]
    if prefix := conf.value("roaming", "node_client_prefix"):
        lines.append(f"redistribute local ip {prefix} eq 128 allow")
        for clients in conf.values("roaming", "prefix"):
            lines.append(f"redistribute ip {clients} eq 128 proto 159 metric 50000")
            lines.append(f"redistribute ip {clients} eq 128 proto 158 allow")
    lines += [f"redistribute ip {each} eq 96 allow" for each in _ranges(conf)]
    # the translators' own addresses are in the /96s, and the WAN's are nobody's business
    devices = [conf.value(role, "device") for role in ("clat", "plat")]
    if conf.is_on("plat"):
        devices += conf.values("plat", "wan")
    lines += [f"redistribute local if {device} deny" for device in sorted(set(devices))]
    if clients := conf.value("node", "client_range"):
        lines.append(f"redistribute local ip {clients} deny")
    return lines


def bird_lines(conf: Conf, mac: str) -> list[str]:
    """Return what BIRD has to include: static routes of the node's own /96s, for bird.conf's protocol babel to export.

    The device is there while the role is up, and so is the route.
    """
    lines = ["protocol static xlat464 {", "\tipv6;"]
    for role, range_text in zip(("clat", "plat"), _ranges(conf), strict=True):
        if conf.is_on(role) and mac:
            prefix = node_prefix(parse_range(range_text), parse_mac(mac))
            lines.append(f'\troute {format_prefix6(prefix, NODE_LENGTH)} via "{conf.value(role, "device")}";')
    return [*lines, "}"]


def _ranges(conf: Conf) -> list[str]:
    return [conf.value("node", option) for option in ("clat_range", "plat_range")]
