# SPDX-License-Identifier: ISC
"""A host with a CLAT of its own, as that speaks on the wire: from an IPv6 address to the IPv4 internet at pref64."""

from asked import Asked

CLIENTS6, HOST6 = "fd46:4646:4646::/64", "fd46:4646:4646::50"
PREF64 = "fddd:1337:1338::"
OPTIONS = f"--client-prefixes {CLIENTS6}"

# one word a line on stdin, one answer a line on stdout
PROGRAM = """
    import errno, hashlib, socket, sys
    PREF64 = "{pref64}"
    talking = {{}}

    def open_tcp(name):
        talking[name] = s = socket.create_connection((PREF64 + "198.51.100.2", 7), 30)
        s.setsockopt(6, 1, 1)

    def echo(name, text):
        talking[name].settimeout(10)
        talking[name].sendall(text.encode() + b"\\n")
        return talking[name].makefile("rb").readline() == text.encode() + b"\\n"

    def udp(to, size, whole=True):
        s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        s.setsockopt(socket.IPPROTO_IPV6, 25, 1)  # IPV6_RECVERR
        s.setsockopt(socket.IPPROTO_IPV6, 23, 2 if whole else 0)  # IPV6_MTU_DISCOVER
        s.settimeout(1)
        s.connect((to, 7))
        return s

    def answer(word, *rest):
        if word == "open":
            open_tcp(rest[0])
            return echo(rest[0], "hello")
        if word == "echo":
            return echo(*rest)
        if word == "big":  # more than one super-packet
            talking[rest[0]].sendall(b"x" * 200000 + b"\\n")
            return len(talking[rest[0]].makefile("rb").readline()) == 200001
        if word == "take":  # as the server of test_node_setup_traffic.py has it
            data = bytes(range(256)) * 2000
            with socket.create_connection((PREF64 + "198.51.100.2", 7), 30) as s:
                s.sendall(b"take %d\\n" % len(data) + data)
                return s.makefile().readline().strip() == hashlib.sha256(data).hexdigest()
        if word == "udp":
            to, size = rest[0], int(rest[1])
            s = udp(to, size, whole=False)
            try:
                s.send(b"x" * size)
                return len(s.recv(65536)) == size
            except OSError as error:
                return errno.errorcode.get(error.errno, "silence")
        if word == "mtu":  # until an error says that the path is narrower, and by what is said then
            s = udp(rest[0], int(rest[1]))
            s.settimeout(0.3)
            for _ in range(100):
                try:
                    s.send(b"x" * int(rest[1]))
                    s.recv(65536)
                except TimeoutError:
                    continue
                except OSError as error:
                    return errno.errorcode[error.errno], s.getsockopt(socket.IPPROTO_IPV6, 24)  # IPV6_MTU

    print("ready", flush=True)
    for line in sys.stdin:
        try:
            print(repr(answer(*line.split())), flush=True)
        except OSError as error:
            print(repr(str(error)), flush=True)
"""


class Host(Asked):
    """A program on a machine that has the address already."""

    def __init__(self, machine, pref64=PREF64):
        self.begin(machine, PROGRAM.format(pref64=pref64))
