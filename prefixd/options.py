# SPDX-License-Identifier: ISC
"""The command line: text in, checked values out, one sentence for what is wrong. No I/O."""

from xlat464.address import contains, parse_decimal, parse_ipv6, parse_prefix6_of, quote
from xlat464.device import parse_device
from xlat464.endpoint import parse_endpoint, parse_path, parse_probe
from xlat464.node import parse_range

SOCKET = "/run/prefixd.sock"
BABEL = "[::1]:33123"


class UsageError(Exception):
    """The command line is wrong; the text says what would be right."""


def parse(arguments):
    """Return the options as a dict: what "--name" gives is at "name".

    prefixes and addresses as bytes, probe_ipv4 a list, babel ("inet6", 16 bytes, port), ("unix", path) or
    ("bird", path).
    A dict with "help", "version", "status" or "withdraw" asks for just that. Raises UsageError.
    """
    given = _collect(arguments)
    if "--help" in given:
        return {"help": True}
    if "--version" in given:
        return {"version": True}
    if "--status" in given:
        return _parse_status(given, "--status", ("--json",))
    if "--withdraw" in given:
        return _parse_status(given, "--withdraw", ())
    if "--json" in given:
        raise UsageError("--json goes with --status")
    for name in _NEEDED:
        if name not in given:
            raise UsageError("%s is missing, see prefixd --help" % name)
    options = {
        "plat_range": _value(given, "--plat-range", parse_range),
        "clat": _value(given, "--clat", parse_device),
        "target": _value(given, "--target", parse_path),
        "source": _value(given, "--source", parse_ipv6),
        "own_plat": _value(given, "--own-plat", _prefix96),
        "babel": _value(given, "--babel", parse_endpoint, parse_endpoint(BABEL)),
        "probe_ipv4": _addresses(given, "--probe-ipv4", parse_probe, 8),
        "margin": _value(given, "--margin", _number(0, 65535, "metric points"), 64),
        "hold_s": _value(given, "--hold-s", _number(0, 86400, "seconds"), 10),
        "probe_interval_ms": _value(given, "--probe-interval-ms", _number(100, 60000, "milliseconds"), 500),
        "socket": _value(given, "--socket", parse_path, SOCKET),
        "l3roamd": _value(given, "--l3roamd", parse_path),
        "hook": _value(given, "--hook", _command),
        "pref64": _value(given, "--pref64", _prefix96),
        "announce": _value(given, "--announce", _announce, "on"),
        "client_device": _value(given, "--client-device", parse_device),
        "dns6": _addresses(given, "--dns6", parse_server, 3),
        "link_mtu": _value(given, "--link-mtu", _number(1280, 65535, "bytes"), 0),
        "hosts_hook": _value(given, "--hosts-hook", _command),
    }
    own = options["own_plat"]
    if own is not None and not contains(options["plat_range"], 48, own):
        raise UsageError("--own-plat: %s is not in the plat range" % given["--own-plat"][0])
    _check_hosts(given)
    return options


_FLAGS = ("--help", "-h", "--version", "--status", "--withdraw", "--json")
_NEEDED = ("--plat-range", "--clat", "--target", "--source")
_NUMBERS = ("--probe-interval-ms", "--margin", "--hold-s")
_HOSTS = ("--client-device", "--announce", "--dns6", "--link-mtu", "--hosts-hook")  # what goes with --pref64
_LISTS = ("--probe-ipv4", "--dns6")
_OTHERS = ("--own-plat", "--babel", "--probe-ipv4", "--hook", "--l3roamd", "--socket", "--pref64")
_NAMES = _NEEDED + _NUMBERS + _OTHERS + _HOSTS


def _collect(arguments):
    """Return option name -> list of its texts."""
    given: dict = {}
    i = 0
    while i < len(arguments):
        name, equals, text = arguments[i].partition("=")
        i += 1
        if name in _FLAGS:
            if equals:
                raise UsageError("%s takes no value" % name)
            given["--help" if name == "-h" else name] = []
            continue
        if name not in _NAMES:
            raise UsageError("%s is no option of prefixd, see prefixd --help" % quote(arguments[i - 1]))
        if not equals:
            if i == len(arguments):
                raise UsageError("%s needs a value, see prefixd --help" % name)
            text = arguments[i]
            i += 1
        if name in given and name not in _LISTS:
            raise UsageError("%s is given twice" % name)
        given.setdefault(name, []).append(text)
    return given


def _parse_status(given, asked, others):
    others += ("--socket",)
    for name in given:
        if name != asked and name not in others:
            raise UsageError("%s does not go with %s, expected %s" % (name, asked, " or ".join(others)))
    return {
        asked[2:]: True,
        "json": "--json" in given,
        "socket": _value(given, "--socket", parse_path, SOCKET),
    }


def _check_hosts(given):
    """What hosts with a CLAT of their own are told needs the prefix, and a device to tell them on."""
    if "--pref64" in given and "--client-device" not in given:
        raise UsageError("--pref64 needs --client-device, where the hosts are")
    for name in _HOSTS:
        if name in given and "--pref64" not in given:
            raise UsageError("%s goes with --pref64" % name)


def _addresses(given, name, convert, most):
    """Return what an option that may be repeated lists."""
    found = []
    for text in given.get(name, []):
        for address in text.replace(",", " ").split():
            found.append(_convert(name, convert, address))
    if len(found) > most:
        raise UsageError("%s: %d addresses, expected at most %d" % (name, len(found), most))
    return found


def _value(given, name, convert, default=None):
    return _convert(name, convert, given[name][0]) if name in given else default


def _convert(name, convert, text):
    try:
        return convert(text)
    except ValueError as error:
        raise UsageError("%s: %s" % (name, error))  # noqa: B904  MicroPython has no "from"


def _command(text):
    if not text.strip() or "\0" in text:
        raise ValueError("%s is no command" % quote(text))
    return text


def parse_server(text):
    """Return the bytes of an IPv6 address, of an IPv4 address behind --pref64, or none for this node's own address."""
    if text == "node":
        return b""
    return parse_ipv6(text) if ":" in text else parse_probe(text)


def _announce(text):
    if text not in ("on", "off"):
        raise ValueError("%s is neither on nor off" % quote(text))
    return text


def _prefix96(text):
    return parse_prefix6_of(96, text)


def _number(least, most, unit):
    def convert(text):
        number = parse_decimal(text, most)
        if number is None or number < least:
            raise ValueError("%s is not a number of %s from %d to %d" % (quote(text), unit, least, most))
        return number

    return convert
