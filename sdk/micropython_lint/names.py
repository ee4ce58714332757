# SPDX-License-Identifier: ISC
"""The names that MicroPython 1.23.0 has, as its `dir` says on the unix port. It lacks what is not here.

Modules that we do not use are left out, and most names that CPython lacks. Each text is a list of words;
tests/unit/test_micropython_lint.py asks the interpreters whether they are there.
"""

BUILTINS = """
    ArithmeticError AssertionError AttributeError BaseException EOFError Ellipsis Exception
    GeneratorExit ImportError IndentationError IndexError KeyError KeyboardInterrupt LookupError
    MemoryError NameError NotImplemented NotImplementedError OSError OverflowError RuntimeError
    StopIteration SyntaxError SystemExit TypeError UnicodeError ValueError ZeroDivisionError abs all any
    bin bool bytearray bytes callable chr classmethod compile complex delattr dict dir divmod enumerate
    eval exec filter float frozenset getattr globals hasattr hash hex id input int isinstance issubclass
    iter len list locals map max memoryview min next object oct open ord pow print property range repr
    reversed round set setattr slice sorted staticmethod str sum super tuple type zip
"""

MODULES = {
    "array": "array",
    "binascii": "a2b_base64 b2a_base64 crc32 hexlify unhexlify",
    "collections": "OrderedDict deque namedtuple",
    "errno": """
        EACCES EADDRINUSE EAGAIN EALREADY EBADF ECONNABORTED ECONNREFUSED ECONNRESET EEXIST
        EHOSTUNREACH EINPROGRESS EINVAL EIO EISDIR ENOBUFS ENODEV ENOENT ENOMEM ENOTCONN EOPNOTSUPP
        EPERM ETIMEDOUT errorcode
    """,
    "gc": "collect disable enable isenabled mem_alloc mem_free threshold",
    "hashlib": "sha256",
    "heapq": "heapify heappop heappush",
    "io": "BytesIO IOBase StringIO open",
    "json": "dump dumps load loads",
    "math": "ceil floor inf isinf isnan nan pow sqrt trunc",
    "micropython": "const mem_info opt_level",
    "os": """
        chdir getcwd getenv listdir mkdir putenv remove rename rmdir sep stat statvfs system unlink
        unsetenv urandom
    """,
    "random": "choice getrandbits randint random randrange seed uniform",
    "re": "compile match search sub",
    "select": "POLLERR POLLHUP POLLIN POLLOUT poll",
    "socket": """
        AF_INET AF_INET6 AF_UNIX MSG_DONTROUTE MSG_DONTWAIT SOCK_DGRAM SOCK_RAW SOCK_STREAM
        SOL_SOCKET SO_BROADCAST SO_ERROR SO_KEEPALIVE SO_LINGER SO_REUSEADDR getaddrinfo inet_ntop
        inet_pton socket
    """,
    "struct": "calcsize pack pack_into unpack unpack_from",
    "sys": """
        argv byteorder exc_info executable exit implementation maxsize modules path platform stderr
        stdin stdout version version_info
    """,
    "time": "gmtime localtime mktime sleep sleep_ms sleep_us ticks_add ticks_diff ticks_ms time time_ns",
}

# of str, bytes, numbers, lists, dicts, sets, generators, exceptions, files, sockets, pollers and what `re` gives
METHODS = """
    accept add append appendleft args bind center clear close connect copy count decode deleter
    difference difference_update discard encode endswith errno extend fileno find flush format
    from_bytes fromhex fromkeys get getter getvalue group hex index insert intersection
    intersection_update isalpha isdigit isdisjoint islower isspace issubset issuperset isupper items
    join keys listen lower lstrip makefile match modify partition poll pop popitem popleft read readinto
    readline readlines recv recvfrom register remove replace reverse rfind rindex rpartition rsplit
    rstrip search seek send sendto setblocking setdefault setsockopt setter settimeout sort split
    splitlines start startswith step stop strip sub symmetric_difference symmetric_difference_update
    tell throw to_bytes union unregister update upper value values write
"""

# of a class, which `dir` does not say
OF_CLASSES = "__name__"
