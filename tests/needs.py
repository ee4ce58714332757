# SPDX-License-Identifier: ISC
"""What a package's files need of other packages, found by reading the files: imports, commands, modules, libraries.

    *_needs(text)   (package, because) for each need that can be read off a file
    EVIDENCE        needs that no reader finds (kernel modules, files of another package): what must be in the files

Names of packages, and what is in which, are OpenWrt's (24.10 and 25.12) and Gluon's (2023.2 to main).
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import shell_words

LIGHT = "python3-light"
# OpenWrt's Python comes in parts: modules that are not in python3-light, and in which package they are
PYTHON = {
    "asyncio": "python3-asyncio",
    "cffi": "python3-cffi",
    "ctypes": "python3-ctypes",
    "curses": "python3-ncurses",
    "dbm": "python3-dbm",
    "decimal": "python3-decimal",
    "doctest": "python3-pydoc",
    "email": "python3-email",
    "l3roamd_py": "l3roamd-py",
    "logging": "python3-logging",
    "lzma": "python3-lzma",
    "multiprocessing": "python3-multiprocessing",
    "nat46": "python3-nat46",
    "pydoc": "python3-pydoc",
    "pyroute2": "python3-pyroute2",
    "reach": "reach",
    "readline": "python3-readline",
    "siit": "siit",
    "sqlite3": "python3-sqlite3",
    "ssl": "python3-openssl",
    "unicodedata": "python3-codecs",
    "unittest": "python3-unittest",
    "urllib": "python3-urllib",
    "runtime": "python3-xlat464",
    "uuid": "python3-uuid",
    "xlat464": "python3-xlat464",
    "xml": "python3-xml",
}
# modules of MicroPython itself, which only it imports
OF_MICROPYTHON = {"uctypes"}
# what modules of python3-light import when they are imported, of Python 3.11 (test_needs.py reads it off there)
OF_LIGHT = {"pathlib": {"urllib"}}

# programs that an image may lack. Others must be in one of the lists below: a word that is in none is an error.
PROGRAMS = {
    "464xlat": "464xlat-common",
    "babeld": "babeld",
    "ip": "ip",
    "ip6tables": "ip6tables-zz-legacy",
    "ip6tables-save": "ip6tables-zz-legacy",
    "iptables": "iptables-zz-legacy",
    "iptables-save": "iptables-zz-legacy",
    "jool": "jool-tools-netfilter",
    "l3roamd_py": "l3roamd-py",
    "micropython": "micropython-nossl",
    "nft": "nftables",
    "prefixd": "prefixd",
    "python3": LIGHT,
    "siit": "siit",
    "sse-multiplex": "sse-multiplex",
    "tc": "tc",
    "timeout": "coreutils-timeout",  # busybox can, OpenWrt's is built without
    "wg": "wireguard-tools",
}
# of every OpenWrt: busybox as its Config-defaults.in has it, base-files, ubox, ubus, uci, jsonfilter
APPLETS = set(
    re.findall(
        r"\S+",
        """
        awk basename cat chmod chown cmp cp cut date df dirname du echo env expr false find flock grep gzip
        head hexdump id kill killall ln logger ls md5sum mkdir mkfifo mktemp mount mv nc netstat pgrep pidof
        ping printf ps pwd readlink rm rmdir sed seq sh sha256sum sleep sort strings sync tail tar tee test
        touch tr true umount uname uniq vi wc wget which xargs yes zcat
        """,
    )
)
BASE = {"jsonfilter", "modprobe", "insmod", "rmmod", "service", "ubus", "uci"}
BUILTINS = set(
    re.findall(
        r"\S+",
        """
        . : [ alias break cd command continue eval exec exit export getopts hash local read readonly return
        set shift trap type ulimit umask unset wait
        """,
    )
)
# functions of what OpenWrt's and Gluon's scripts source
SOURCED = re.compile(
    r"(config|list|uci|procd|network|json|rc)_\w+|get_mac_label|"
    r"(start|stop|restart|reload|boot|enable|enabled|running|start_enabled)$"
)
# what is known only when it runs, and scripts that others ask for with a test before
NOT_NAMED = re.compile(r"^$|[$=]|^-|^/(etc/init|lib/464xlat/role)\.d/|/464xlat-babel/ask$")
# programs that a package makes do without: its scripts ask first, or what runs them brings them
DOES_WITHOUT = {
    "464xlat-common": {"babeld", "nft", "iptables", "ip6tables-save", "python3"},
    "464xlat-plat": {"jool", "tc"},
    "464xlat-page": {"prefixd", "l3roamd_py"},  # whose part is not there
    "gluon-464xlat-babel": {"sse-multiplex"},  # of gluon-status-page, whose page asks
}
LUA = {
    "gluon.l3": "gluon-mesh-layer3-common",
    "gluon.site": "gluon-core",
    "gluon.sysconfig": "gluon-core",
    "gluon.util": "gluon-core",
    "gluon.xlat464": "gluon-464xlat-common",
    "gluon.xlat464_site": "gluon-464xlat-common",
    "jsonc": "gluon-core",
    "simple-uci": "gluon-core",
}
LIBRARIES = {"libjson-c": "libjson-c"}

# Needs that no import and no command shows: who needs what, and what in its files (or their sources) says so.
EVIDENCE = {
    "464xlat-xtables": {
        "iptables-zz-legacy": r"\biptables",
        "ip6tables-zz-legacy": r"ip6tables",
        "iptables-mod-rpfilter": r"-m rpfilter",
    },
    "464xlat-nft": {"kmod-nft-fib": r"fib saddr"},
    "464xlat-common": {"464xlat-nft": r"FIREWALL", "464xlat-xtables": r"FIREWALL"},
    "464xlat-plat": {
        "464xlat-common": r"\bchange\b",
        "464xlat-netlink": r"runtime\.netlink",
        "kmod-nf-conntrack-netlink": r"forget-flows",
        "kmod-nft-connlimit": r"client_flows|CLIENT_FLOWS",
        "iptables-mod-conntrack-extra": r"client_flows|CLIENT_FLOWS",
        "iptables-mod-hashlimit": r"client_flows_per_s|CLIENT_FLOWS_PER_S",
        "kmod-nft-nat": r"PLAT|plat_",
        "ip6tables-mod-nat": r"PLAT|plat_",
        "kmod-ipt-nat": r"PLAT|plat_",
        "kmod-ipt-nat6": r"PLAT|plat_",
        "kmod-ipt-conntrack": r"PLAT|plat_",
    },
    "prefixd": {"464xlat-common": r"xlat464"},
    "siit": {"kmod-tun": r"/dev/net/tun"},
    "l3roamd-py": {
        "464xlat-common": r"/var/run/464xlat|config_load 464xlat|464xlat",
        "kmod-nf-conntrack-netlink": r"CTNETLINK|SUBSYSTEM_CONNTRACK|conntrack",
        "kmod-nfnetlink-queue": r"NFQUEUE|SUBSYSTEM_QUEUE|nfqueue",
        "kmod-nft-core": r"SUBSYSTEM_NFTABLES",
        "iptables-zz-legacy": r"\biptables",
        "ip6tables-zz-legacy": r"ip6tables",
        "kmod-nft-queue": r"queue",
        "ipset": r"SUBSYSTEM_IPSET|ipset",
        "kmod-ipt-ipset": r"-m set|match-set|--match-set|set",
        "kmod-ipt-nat6": r"NETMAP|SNAT|DNAT",
        "kmod-ipt-nat-extra": r"NETMAP",
        "iptables-mod-nat-extra": r"NETMAP",
        "iptables-mod-nfqueue": r"NFQUEUE",
    },
    "464xlat-netlink": {"464xlat-common": r"import IS_MICRO"},
    "464xlat-page": {"464xlat-common": r"status clat plat"},
    "reach": {"wireguard-tools": r"wireguard"},
    "gluon-464xlat-common": {"464xlat-common": r"/etc/init\.d/464xlat", "firewall": r"'firewall'"},
    "gluon-464xlat-babel": {"gluon-464xlat-common": r"load_464xlat"},
    "gluon-464xlat-clat": {
        "prefixd": r"prefixd|'clat'",
        "kmod-nat46": r"'clat'",
        "siit": r"'clat'",
        "gluon-client-bridge": r"br-client|client",
        "dnsmasq-full": r"dnsmasq",
    },
    "gluon-464xlat-plat": {
        "464xlat-plat": r"'plat'",
        "tc": r"limit_up_kbit",
        "kmod-nat46": r"'plat'",
        "siit": r"'plat'",
    },
    "gluon-config-mode-464xlat-plat": {
        "gluon-config-mode-core": r"form:section\(Section",
        "gluon-464xlat-plat": r"'464xlat', 'plat'",
    },
}
EVIDENCE["l3roamd-micropython"] = EVIDENCE["l3roamd-py"] | {"464xlat-netlink": r"runtime\.netlink"}


def goes_on_without(handler: ast.ExceptHandler) -> bool:
    return "ImportError" in ast.dump(handler) and not any(
        isinstance(node, ast.Raise) for node in handler.body
    )


def imports(source: str) -> set[str]:
    """The modules that a Python text imports, without those for types alone and those it goes on without."""
    found: set[str] = set()

    def walk(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return
        if isinstance(node, ast.Try) and any(map(goes_on_without, node.handlers)):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module or "")
        for child in ast.iter_child_nodes(node):
            walk(child)

    walk(ast.parse(source))
    return {name.partition(".")[0] for name in found}


def python_needs(source: str) -> Iterator[tuple[str, str]]:
    """The packages that a Python text needs, and why. Raises ValueError for a module that is in no list."""
    for name in imports(source):
        if name in OF_MICROPYTHON:
            continue
        if name not in PYTHON and name not in sys.stdlib_module_names:
            raise ValueError(f"{name}: who brings this module? Expected it in needs.PYTHON")
        for module in {name} | OF_LIGHT.get(name, set()):
            yield PYTHON.get(module, LIGHT), f"import {name}"


def shell_needs(text: str, functions: set[str]) -> Iterator[tuple[str, str]]:
    """The packages that a shell text needs, and why. Raises ValueError for a command that is in no list."""
    known = APPLETS | BASE | BUILTINS | functions
    for words in shell_words.commands(text):
        if words[:2] == ["procd_set_param", "command"]:
            words = words[2:]
        name = words[0].removeprefix("/usr/sbin/").removeprefix("/usr/bin/")
        if name in PROGRAMS:
            yield PROGRAMS[name], name
        elif not (name in known or SOURCED.match(name) or NOT_NAMED.search(name)):
            raise ValueError(f"{name}: who brings this command? Expected it in a list of needs.py")


def lua_needs(text: str) -> Iterator[tuple[str, str]]:
    """The packages that a Lua text needs, and why. Raises ValueError for a module that is in no list."""
    for name in re.findall(r"""\brequire[\s(]*['"]([\w.-]+)['"]""", text):
        if name not in LUA:
            raise ValueError(f"{name}: who brings this Lua module? Expected it in needs.LUA")
        yield LUA[name], f"require {name}"


def library_needs(path: str) -> Iterator[tuple[str, str]]:
    """The packages of libraries that a compiled file names, and why."""
    said = subprocess.run(["readelf", "-d", path], capture_output=True, text=True, check=True).stdout
    if b"_cffi_backend" in Path(path).read_bytes():
        yield "python3-cffi", "_cffi_backend"
    for name in re.findall(r"\(NEEDED\).*\[(lib[\w-]+)\.so", said):
        if name in LIBRARIES:
            yield LIBRARIES[name], name
