# SPDX-License-Identifier: ISC
"""The kernel module nat46 as its control file shows it from outside: says yes to everything, lists what fits.

It parses by itself, not with our language, for it has to take what the module takes. Each behaviour names the
function of nat46 (nat46/modules/*.c) that it plays.
"""

import ipaddress
import re
from dataclasses import dataclass, field

from nat46.errors import NoDevice
from nat46.target import Statistics

CFG_BUFLEN = 200  # NAT46_CFG_BUFLEN
# examples of pairs
CLAT = "local.v4 10.126.0.0/16 local.v6 fddd:1337:1337:1234:5678:9abc::/96 local.style RFC6052"
PLAT = "remote.v4 0.0.0.0/0 remote.v6 fddd:1337:1338:1234:5678:9abd::/96 remote.style RFC6052"
ONE = "local.v4 192.0.2.1/32 local.v6 2001:db8::1/128"
OTHER = "local.v4 192.0.2.2/32 local.v6 2001:db8::2/128"
LONG4, LONG6 = "203.100.113.129/32", "2001:db8:aaaa:bbbb:cccc:dddd:eeee:{}/128"
# one to one on both sides: the listing ends inside of remote.v6
LONG = f"local.v4 {LONG4} local.v6 {LONG6.format('ffff')} remote.v4 {LONG4} remote.v6 {LONG6}"


def strtol(text):
    """simple_strtol: the digits at the start, whatever follows."""
    found = re.match(r"-?\d+", text)
    return int(found[0]) if found else 0


def empty_rule():
    return {"v4": (bytes(4), 0), "v6": (bytes(16), 0), "style": "NONE", "ea-len": 0, "psid-offset": 0}


def print_ip6(packed):
    """%pI6c, ip6_compressed_string: ISATAP and mapped addresses end in a dotted quad."""
    text = str(ipaddress.IPv6Address(packed))
    mapped = packed[:12] == bytes(10) + b"\xff\xff"
    if mapped or packed[8:12] in (b"\0\0\x5e\xfe", b"\2\0\x5e\xfe"):
        groups = [f"{packed[i] << 8 | packed[i + 1]:x}" for i in range(0, 12, 2)]
        runs = [
            (len(run[0]), run.start())
            for run in re.finditer(r"0+", "".join("0" if g == "0" else "x" for g in groups))
        ]
        length, start = max(runs, key=lambda run: (run[0], -run[1]), default=(0, 0))
        quad = str(ipaddress.IPv4Address(packed[12:]))
        if length < 2:
            return ":".join([*groups, quad])
        return ":".join(groups[:start]) + "::" + ":".join([*groups[start + length :], quad])
    return text


@dataclass
class Instance:
    """nat46_instance_t: a device's pairs, and its debug level."""

    pairs: list = field(default_factory=lambda: [(empty_rule(), empty_rule())])
    debug: int = 0


class Module:
    """The control file of one network namespace."""

    def __init__(self, buflen=CFG_BUFLEN):
        self.buflen = buflen
        self.devices = {}
        self.others = {"lo"}  # network devices that are not nat46's
        self.writes = []

    # --- nat46_proc_write: any number of commands, always success -----------

    def write(self, data):
        self.writes.append(data)
        words = re.split(r"[ \n]+", data.decode().strip(" \n"))
        while words:
            command, words = words[0], words[1:]
            if command not in ("add", "del", "config", "insert", "remove"):
                continue
            # get_devname cuts a long name short
            name, words = (words[0][:15] if words else ""), words[1:]
            if command == "add":
                self.create(name)
            elif command == "del":
                self.devices.pop(name, None)  # nat46_destroy
            elif name in self.devices:
                # the rest of the write is this command's, whatever it says
                getattr(self, command)(self.devices[name], words)
                words = []
        return len(data)

    def create(self, name):
        """nat46_create: nothing if there is one; register_netdev fails if another device has the name."""
        if name not in self.devices and name not in self.others:
            self.devices[name] = Instance()

    def config(self, instance, words):
        """nat46_set_config: of the last pair, if there is one."""
        if instance.pairs:
            self.set(instance, instance.pairs[-1], words)

    def insert(self, instance, words):
        """nat46_insert: an empty pair in front, then set_ipair_config whatever it returns."""
        instance.pairs.insert(0, (empty_rule(), empty_rule()))
        self.set(instance, instance.pairs[0], words)

    def remove(self, instance, words):
        """nat46_remove: the first pair whose text has this length, and these first 199 characters.

        A bad value only ends the reading, for it counts as 1; a missing one is below zero and ends all.
        """
        wanted = Instance()
        if self.set(wanted, wanted.pairs[0], words) >= 0:
            text = self.text(wanted, wanted.pairs[0])
            for i, pair in enumerate(instance.pairs):
                other = self.text(instance, pair)
                if len(other) == len(text) and other[: self.buflen - 1] == text[: self.buflen - 1]:
                    del instance.pairs[i]
                    return

    def set(self, instance, pair, words):
        """nat46_set_ipair_config: stops at the first bad value; passes over words that it does not know."""
        words = list(words)
        while words:
            word = words.pop(0)
            side, _, key = word.partition(".")
            if word == "debug":
                if words:
                    instance.debug = strtol(words.pop(0))
            elif side not in ("local", "remote") or "." not in word:
                continue
            elif not words:
                return -1
            elif not self.set_rule(pair[side == "remote"], key, words.pop(0)):
                return 1
        return 0

    def set_rule(self, rule, key, value):
        """try_parse_rule_arg: the length is taken before the address is looked at; an unknown key is success."""
        if key in ("v4", "v6"):
            address, slash, length = value.partition("/")
            before, bits = rule[key]
            bits = strtol(length) if slash else bits
            try:
                kind = ipaddress.IPv4Address if key == "v4" else ipaddress.IPv6Address
                rule[key] = (kind(address).packed, bits)
            except ValueError:
                rule[key] = (before, bits)
                return False
        elif key in ("ea-len", "psid-offset"):
            rule[key] = strtol(value)
        elif key == "style":
            if value not in ("NONE", "MAP", "MAP0", "RFC6052"):
                return False
            rule[key] = value
        return True

    # --- nat64_show_all_configs ----------------------------------------------

    def text(self, instance, pair):
        """nat46_get_ipair_config, whole."""
        parts = []
        for side, rule in zip(("local", "remote"), pair, strict=True):
            v4, v6 = rule["v4"], rule["v6"]
            parts.append(
                f"{side}.v4 {ipaddress.IPv4Address(v4[0])}/{v4[1]} {side}.v6 {print_ip6(v6[0])}/{v6[1]} "
                f"{side}.style {rule['style']} {side}.ea-len {rule['ea-len']} {side}.psid-offset {rule['psid-offset']}"
            )
        return " ".join([*parts, f"debug {instance.debug}"])

    def read(self):
        lines = []
        for name, instance in self.devices.items():
            lines.append(f"add {name}")
            for i, pair in enumerate(instance.pairs):
                made = "config" if i == len(instance.pairs) - 1 else "insert"
                lines.append(f"{made} {name} {self.text(instance, pair)[: self.buflen - 1]}")  # snprintf
            lines.append("")
        return "".join(line + "\n" for line in lines)


class ModuleTarget:
    """A Module as nat46.target.Target and its Session; `meddle`, if set, is called behind each write."""

    name = "the module's model"
    keeps_debug = True

    def __init__(self, module=None):
        self.module = module or Module()
        self.meddle = None
        self.taken_down = []

    def perform(self, work):
        return work(self)

    def send(self, command):
        self.module.write(command.encode() + b"\n")
        if self.meddle:
            self.meddle(command)

    def read(self):
        return self.module.read()

    def statistics(self, device):
        if device not in self.module.devices:
            raise NoDevice(device, ())
        return Statistics(1, 2, 3, 4)

    def take_down(self, device):
        self.taken_down.append(device)

    def has_interface(self, name):
        return name in self.module.devices or name in self.module.others
