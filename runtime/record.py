# SPDX-License-Identifier: ISC
"""Records: small values with named fields, on CPython and MicroPython. What dataclasses are, as far as both can.

    @record("mac ipv4")
    class RemoveNeighbour:
        mac: bytes
        ipv4: bytes | None = None

makes a class that is built by position or by name, equal to a record of the same type with equal values, hashable and
printed with its fields. The fields are named in the decorator since MicroPython keeps no annotations; CPython checks
that both agree. A default stands in the class's body and must not be changeable. `__post_init__` may refuse values.

A class may inherit the fields of a record, and adds none.

Nobody assigns to a field: mypy checks it, at run time it would cost more than all the rest. What changes is `mutable`:
declared, built and printed in the same way, and equal to nothing but itself.
"""

from runtime import IS_MICRO

TYPE_CHECKING = False  # a constant that mypy takes to be true
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar, dataclass_transform

    T = TypeVar("T")
else:

    def dataclass_transform(**_options):
        return lambda decorator: decorator


if IS_MICRO:

    def _with_slots(cls: "type[T]", names: list[str]) -> "type[T]":
        return cls

else:

    def _with_slots(cls: "type[T]", names: list[str]) -> "type[T]":
        """The same class, its objects without a dictionary: half the memory, and no other names."""
        body = dict(vars(cls))
        if list(getattr(cls, "__annotations__", ())) not in (names, []):  # packages are built without them
            raise TypeError("%s has other fields than %s" % (cls.__name__, names))
        for name in ["__dict__", "__weakref__", "__annotations__"] + names:
            body.pop(name, None)
        body["__slots__"], body["__qualname__"] = tuple(names), cls.__qualname__
        return type(cls.__name__, cls.__bases__, body)


@dataclass_transform(frozen_default=True)
def record(fields: str = "") -> "Callable[[type[T]], type[T]]":
    """Make a class a record with these fields, a word each, in the order of their values."""
    return _maker(fields.split(), ("__init__", "__eq__", "__hash__"))


@dataclass_transform()
def mutable(fields: str = "") -> "Callable[[type[T]], type[T]]":
    """Make a class one whose fields change."""
    return _maker(fields.split(), ("__init__",))


def _maker(names: list[str], made: tuple[str, ...]) -> "Callable[[type[T]], type[T]]":

    def make(cls: "type[T]") -> "type[T]":
        defaults = {name: getattr(cls, name) for name in names if hasattr(cls, name)}
        cls = _with_slots(cls, names)
        methods: dict[str, object] = {"default_" + name: value for name, value in defaults.items()}
        exec(_source(names, defaults, hasattr(cls, "__post_init__"), made), methods)
        for name in made:
            setattr(cls, name, methods[name])
        cls.__repr__ = _describer(names)  # type: ignore[method-assign]
        return cls

    return make


def _source(names: list[str], defaults: dict[str, object], is_checked: bool, made: tuple[str, ...]) -> str:
    """The text of a record's methods: what is written out needs no loop at run time."""
    given = "".join(", %s=default_%s" % (n, n) if n in defaults else ", " + n for n in names)
    lines = ["def __init__(self%s):" % given]
    for name in names:
        # objects of MicroPython have dictionaries: what is the class's need not be in each of them
        is_spared = IS_MICRO and not callable(defaults.get(name, callable))
        condition = " if %s is not default_%s:" % (name, name) if is_spared else ""
        lines.append("%s self.%s = %s" % (condition, name, name))
    lines += [" self.__post_init__()" if is_checked else " pass"]
    if "__eq__" not in made:
        return "\n".join(lines) + "\n"
    equal = "".join(" and self.%s == other.%s" % (name, name) for name in names)
    lines += ["def __eq__(self, other):", " return type(other) is type(self)" + equal]
    lines += ["def __hash__(self):", " return hash((%s))" % "".join("self.%s, " % name for name in names)]
    return "\n".join(lines) + "\n"


def _describer(names: list[str]) -> "Callable[[object], str]":
    def describe(self: object) -> str:
        return "%s(%s)" % (type(self).__name__, ", ".join(["%s=%r" % (n, getattr(self, n)) for n in names]))

    return describe
