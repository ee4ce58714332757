# SPDX-License-Identifier: ISC
"""The few system calls that the shim makes itself, through cffi, each made once and with its own errno.

Python's os.write makes a call again when a signal interrupts it (PEP 475). For the control file that would be a
second command, so write(2) is called here, once. flock(2) and setns(2) come along, for Python 3.11 has no setns.

API mode is the module nat46._libc, compiled by `python -m nat46._build`: its compiler has checked the declarations.
Where nobody has compiled it (a router), cffi reads the same declarations and finds the functions in the running
program, ABI mode. Either is loaded by the first call, so importing nat46 costs neither.
"""

import functools
import importlib
from collections.abc import Callable
from typing import Any

from nat46.errors import CffiMissing

# Of Linux on all of its architectures that run OpenWrt; the compiler of API mode checks the types.
DECLARATIONS = """
ssize_t write(int fd, const void *bytes, size_t count);
int flock(int fd, int operation);
int setns(int fd, int kind);
"""
INCLUDES = "#include <sched.h>\n#include <sys/file.h>\n#include <unistd.h>\n"
EINTR, EAGAIN = 4, 11
LOCK_EX, LOCK_NB, LOCK_UN = 2, 4, 8
CLONE_NEWNET = 0x40000000


class CallError(Exception):
    """A call returned -1; .call is its name and .number its errno."""

    def __init__(self, call: str, number: int) -> None:
        super().__init__(call, number)
        self.call, self.number = call, number


@functools.cache
def _load() -> tuple[str, Any, Any]:
    try:
        compiled = importlib.import_module("nat46._libc")
        return "API", compiled.ffi, compiled.lib
    except ImportError:
        return load_abi()


def load_abi() -> tuple[str, Any, Any]:
    """ABI mode: the declarations read now, the functions of the C library that this program runs with.

    Raises CffiMissing.
    """
    try:
        from cffi import FFI  # type: ignore[import-untyped]
    except ImportError as error:
        raise CffiMissing(str(error)) from None

    ffi = FFI()
    ffi.cdef(DECLARATIONS)
    return "ABI", ffi, ffi.dlopen(None)


def mode() -> str:
    """`API` or `ABI`."""
    return _load()[0]


def _call(name: str, *arguments: object) -> int:
    """Call a function once. Raises CallError with the errno that this very call left."""
    _, ffi, lib = _load()
    function: Callable[..., int] = getattr(lib, name)
    result = function(*arguments)
    if result < 0:
        raise CallError(name, ffi.errno)
    return result


def write(fd: int, data: bytes) -> int:
    """Make one write(2) of all the bytes; return how many were taken. Raises CallError."""
    return _call("write", fd, data, len(data))


def try_lock(fd: int) -> bool:
    """Take the exclusive lock of an open file (flock), or return False if another has it. Raises CallError."""
    try:
        _call("flock", fd, LOCK_EX | LOCK_NB)
    except CallError as error:
        if error.number in (EAGAIN, EINTR):
            return False
        raise
    return True


def unlock(fd: int) -> None:
    """Give the lock back. Raises CallError."""
    _call("flock", fd, LOCK_UN)


def enter_network(fd: int) -> None:
    """Put the calling thread into the network namespace of an open file. Raises CallError."""
    _call("setns", fd, CLONE_NEWNET)
