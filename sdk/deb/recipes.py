# SPDX-License-Identifier: ISC
"""Which Debian packages there are, and what is in each.

All Python modules are in one private folder, HOME: none of ours is found by other programs of a server.
"""

from dataclasses import dataclass, field

HOME = "usr/lib/464xlat/python"
PYTHON = "python3 (>= 3.11)"
SHARED = ("runtime", "xlat464", "nat46")
# of reach, what reads the rules of other firewalls: `464xlat check` asks it as well
RULES = ("__init__", "command", "kernel_rules", "reading", "ruleset", "ruleset_iptables", "ruleset_nft")
ROAMING = ("", "/core", "/kernel", "/netfilter", "/netfilter/nft", "/netfilter/xtables")


@dataclass(frozen=True, slots=True)
class Recipe:
    """A package.

    modules   folders of Python modules; what is "FOLDER:a,b" has only those modules, "FOLDER:-a,b" all others
    files     (a folder or file of this repository, where its content goes)
    commands  path -> module that it runs
    units     that are enabled, and restarted by an upgrade (reloaded, where `reloads` says so)
    compiled  path -> what compiled.py makes
    first     what is done first when it is removed, while its files are there: lines of sh
    last      what is done when its files are gone
    purge     what is done when it is purged
    manuals   section and name -> (its line in `apropos`, the words that print its help)
    """

    name: str
    summary: str
    about: str
    depends: tuple[str, ...] = ()
    recommends: str = ""
    suggests: str = ""
    replaces: str = ""
    modules: tuple[str, ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    commands: dict[str, str] = field(default_factory=dict)
    units: tuple[str, ...] = ()
    reloads: bool = False
    compiled: dict[str, str] = field(default_factory=dict)
    conffiles: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    first: str = ""
    last: str = ""
    purge: str = ""
    manuals: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)


COMMON = "python3-464xlat (= {version})"
RECIPES = (
    Recipe(
        "python3-464xlat",
        "IPv4 over an IPv6-only mesh: what its programs share",
        "Addresses of a 464XLAT mesh (RFC 6052, node prefixes), daemons' loop and sockets, netlink, the control\n"
        "language of translators. Its modules are in a folder of their own, where no other program finds them.",
        (PYTHON,),
        modules=(*SHARED, f"reach:{','.join(RULES)}"),
        files=(("files/server/python", ""),),
        commands={"usr/lib/464xlat/xlat464": "xlat464"},
    ),
    Recipe(
        "464xlat",
        "IPv4 over an IPv6-only mesh: exits and clatnodes",
        "Makes a server an exit (PLAT, platnode) of an IPv6-only babel mesh whose clients have IPv4 by 464XLAT\n"
        "(RFC 6877), or a node with such clients (CLAT), as /etc/464xlat.conf says, and takes it back again.",
        (COMMON, "nftables", "netbase", "iproute2", "procps"),  # netbase: names of protocols, for nft
        recommends="464xlat-siit, babeld | bird2, l3roamd-py",
        suggests="prefixd, 464xlat-reach",
        modules=("server",),
        files=(
            ("files/464xlat/lib/464xlat", "usr/lib/464xlat"),
            ("files/464xlat/usr/sbin", "usr/sbin"),
            ("files/server/464xlat", ""),
            ("docs/gateway.md", "usr/share/doc/464xlat"),
            ("docs/grafana-dashboard.json", "usr/share/doc/464xlat"),
        ),
        commands={"usr/lib/464xlat/conf": "server"},
        units=("464xlat.service", "464xlat-metrics.timer"),
        reloads=True,
        conffiles=("/etc/464xlat.conf",),
        first=(
            'for role in clat plat; do 464xlat "$role" down || true; done\n'
            "[ ! -d /run/systemd/system ] || /usr/lib/464xlat/role.d/50-babel gone || true\n"
        ),
        last="rm -f /var/lib/prometheus/node-exporter/464xlat.prom\n",
        purge="rm -rf /run/464xlat /var/lib/464xlat\n",
        manuals={
            "8/464xlat": ("set a server up for 464XLAT", ("sh", "files/464xlat/usr/sbin/464xlat", "--help")),
            "5/464xlat.conf": (
                "configuration of 464XLAT on a server",
                ("cat", "files/server/464xlat/etc/464xlat.conf"),
            ),
        },
    ),
    Recipe(
        "464xlat-siit",
        "IPv4/IPv6 translator without a kernel module",
        "A stateless IPv4/IPv6 translator (RFC 7915) on TUN devices, which takes the commands of the kernel module\n"
        "nat46, and nat46ctl, which controls either.",
        (COMMON, "python3-cffi-backend", "{libc}"),
        modules=("siit",),
        files=(("files/server/siit", ""),),
        commands={"usr/sbin/siit": "siit", "usr/sbin/nat46ctl": "nat46"},
        units=("siit.service",),
        compiled={f"{HOME}/siit/_siit.abi3.so": "siit"},
        purge="rm -rf /run/siit\n",
        manuals={
            "8/siit": ("IPv4/IPv6 translator", ("python", "-m", "siit", "--help")),
            "8/nat46ctl": ("control nat46 and siit", ("python", "-m", "nat46", "--help")),
        },
    ),
    Recipe(
        "prefixd",
        "chooses the exit of a 464XLAT clatnode",
        "Reads the metrics of all exits (PLATs) from babeld or BIRD, asks the best ones whether they reach the\n"
        "internet, and points the CLAT at the nearest that does.",
        (COMMON, "464xlat (= {version})"),
        recommends="babeld | bird2",
        modules=("prefixd",),
        files=(("files/server/prefixd", ""),),
        commands={"usr/sbin/prefixd": "prefixd"},
        units=("prefixd.service",),
        purge="rm -f /run/prefixd.sock\n",
        manuals={
            "8/prefixd": ("chooses the exit of a 464XLAT clatnode", ("python", "-m", "prefixd", "--help"))
        },
    ),
    Recipe(
        "l3roamd-py",
        "layer 3 roaming with IPv4 through 464XLAT",
        "The roaming daemon of a 464XLAT mesh: a client that walks to another node keeps its IPv4 address and its\n"
        "open connections. It speaks the protocol of l3roamd and its control socket.",
        (COMMON, "464xlat (= {version})"),
        recommends="babeld | bird2",
        modules=tuple(f"l3roamd_py{sub}" for sub in ROAMING),
        files=(
            ("files/server/l3roamd-py", ""),
            ("files/l3roamd-py/usr/lib/l3roamd-py", "usr/lib/l3roamd-py"),
        ),
        commands={"usr/sbin/l3roamd_py": "l3roamd_py"},
        units=("l3roamd-py.service",),
        first="l3roamd_py flush || true\n",
        purge="rm -f /run/l3roamd.sock /run/l3roamd.sock.lock /run/l3roamd.state\n",
        manuals={"8/l3roamd_py": ("layer 3 roaming daemon", ("python", "-m", "l3roamd_py", "--help"))},
    ),
    Recipe(
        "464xlat-reach",
        "IPv4 in and out through a rented server",
        "For a home or a mesh site that has only IPv6, or shares its IPv4 address with others (DS-Lite, carrier-grade\n"
        "NAT). One file describes both ends; each is set up from it with one command, and taken back with another.",
        (COMMON, "python3-pyroute2", "nftables", "iproute2", "{libc}"),
        recommends="wireguard-tools",
        suggests="wireguard-go, dnsmasq-base, radvd, ndppd, ethtool",
        replaces="reach",
        modules=(f"reach:-{','.join(RULES)}", "reach/relay:__init__", "reach/render"),
        files=(
            ("reach/examples", f"{HOME}/reach/examples"),
            ("reach/reach@.service", "usr/lib/systemd/system"),
            ("docs/reach.md", "usr/share/doc/464xlat-reach"),
        ),
        commands={"usr/bin/reach": "reach"},
        compiled={"usr/bin/reach-relay": "relay"},
        folders=("etc/reach",),
        first=(
            "[ ! -d /run/systemd/system ] || systemctl stop 'reach@*.service' || true\n"
            "for ledger in /run/reach/*.json; do\n"
            '\t[ ! -e "$ledger" ] || reach down "$(basename "$ledger" .json)" || true\n'
            "done\n"
        ),
        manuals={
            "1/reach": ("IPv4 in and out through a rented server", ("python", "-m", "reach", "--help")),
            "1/reach-relay": (
                "relay of TCP and UDP between IPv4 and IPv6",
                ("sed", "-n", r's/^#define USAGE "\(.*\)\\n"$/\1/p', "reach/relay/src/main.c"),
            ),
        },
    ),
)
