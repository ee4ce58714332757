# SPDX-License-Identifier: ISC
"""What the oldest MicroPython of released OpenWrt does otherwise than CPython: a table, one row a difference.

From py/, extmod/ and ports/unix/ of MicroPython between v1.23.0 and v1.28.0, and from asking both. `since` is the
version that has it, None where 1.28 has not either. `example` is what the row finds: where it is not there, it fails,
or its value is another than CPython's.
"""

import ast
from collections.abc import Callable
from dataclasses import dataclass

Version = tuple[int, int]
VIEWS = ("keys", "values", "items")


@dataclass(frozen=True)
class Rule:
    what: str
    since: Version | None
    instead: str
    example: str
    finds: Callable[[ast.AST], bool]


def calls(name: str, wrong: Callable[[ast.Call], bool]) -> Callable[[ast.AST], bool]:
    """Return a test for a call of a function or a method of this name whose arguments are wrong."""

    def finds(node: ast.AST) -> bool:
        if not isinstance(node, ast.Call):
            return False
        called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", None)
        return called == name and wrong(node)

    return finds


def either(*tests: Callable[[ast.AST], bool]) -> Callable[[ast.AST], bool]:
    return lambda node: any(test(node) for test in tests)


def is_a(*kinds: str) -> Callable[[ast.AST], bool]:
    """Return a test for nodes of these kinds, by name: the Python that lints may not know all of them."""
    return lambda node: type(node).__name__ in kinds


def more_than(count: int) -> Callable[[ast.Call], bool]:
    return lambda call: len(call.args) > count or bool(call.keywords)


def fewer_than(count: int) -> Callable[[ast.Call], bool]:
    return lambda call: len(call.args) < count or bool(call.keywords)


def keywords_but(*allowed: str) -> Callable[[ast.Call], bool]:
    return lambda call: any(keyword.arg not in allowed for keyword in call.keywords)


def begins_with_tuple(call: ast.Call) -> bool:
    return bool(call.args) and isinstance(call.args[0], ast.Tuple)


def of_view(call: ast.Call) -> bool:
    return len(call.args) == 1 and is_view(call.args[0])


def is_view(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in VIEWS


def is_view_operation(node: ast.AST) -> bool:
    return isinstance(node, ast.BinOp) and (is_view(node.left) or is_view(node.right))


def is_step(node: ast.AST) -> bool:
    return isinstance(node, ast.Slice) and node.step is not None


def unpacks(node: ast.AST) -> bool:
    if isinstance(node, ast.Dict):
        return None in node.keys
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)) and not isinstance(
        getattr(node, "ctx", None), ast.Store
    ):
        return any(isinstance(each, ast.Starred) for each in node.elts)
    return False


def is_positional_only(node: ast.AST) -> bool:
    return isinstance(node, ast.arguments) and bool(node.posonlyargs)


def has_odd_decorator(node: ast.AST) -> bool:
    decorators = getattr(node, "decorator_list", [])
    return any(isinstance(each, ast.Subscript | ast.Lambda | ast.BinOp) for each in decorators)


def formats_oddly(node: ast.AST) -> bool:
    """A literal's .format with an attribute of an argument, or with separators other than a comma."""
    if not (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format"
    ):
        return False
    text = node.func.value
    if not (isinstance(text, ast.Constant) and isinstance(text.value, str)):
        return False
    fields = [piece.partition("}")[0] for piece in text.value.split("{")[1:]]
    return any("." in field.partition(":")[0] or "_" in field.partition(":")[2] for field in fields)


RULES = (
    Rule(
        "next(iterator, default)",
        (1, 25),
        "catch StopIteration",
        "next(iter(()), None)",
        calls("next", more_than(1)),
    ),
    Rule(
        "startswith with a tuple or an end",
        (1, 25),
        "one call for each, or a slice",
        "'ab'.startswith(('a', 'b'))",
        either(calls("startswith", begins_with_tuple), calls("startswith", more_than(2))),
    ),
    Rule(
        "endswith with a tuple, a start or an end",
        (1, 25),
        "one call for each, or a slice",
        "'ab'.endswith('b', 1)",
        either(calls("endswith", begins_with_tuple), calls("endswith", more_than(1))),
    ),
    Rule(
        "an f-string: joined to another or raw since 1.24, nested and with {{ since 1.28 only",
        (1, 28),
        "%",
        "f'{{'",
        is_a("JoinedStr", "TemplateStr"),
    ),
    Rule(
        "to_bytes without length and byteorder, or by keyword",
        (1, 27),
        "to_bytes(length, 'big')",
        "(1).to_bytes(length=2, byteorder='big')",
        calls("to_bytes", fewer_than(2)),
    ),
    Rule(
        "from_bytes without byteorder, or by keyword",
        (1, 24),
        "from_bytes(value, 'big')",
        "int.from_bytes(b'1')",
        calls("from_bytes", fewer_than(2)),
    ),
    Rule(
        "len or bool of a dict's keys, values or items",
        (1, 27),
        "of the dict",
        "len({}.keys())",
        either(calls("len", of_view), calls("bool", of_view)),
    ),
    Rule(
        "a dict's keys as a set",
        None,
        "set(d)",
        "{1: 1}.keys() & {1}",
        is_view_operation,
    ),
    Rule(
        "a format with _, or with an attribute",
        (1, 26),
        "%",
        "'{:_x}'.format(99999)",
        formats_oddly,
    ),
    Rule(
        "__set_name__",
        (1, 26),
        "the name as an argument",
        "class D:\n    def __set_name__(self, owner, name): self.name = name\nclass C: d = D()\nC.d.name",
        lambda node: getattr(node, "name", getattr(node, "id", None)) == "__set_name__",
    ),
    Rule(
        "a slice with a step, which only lists take",
        None,
        "a loop, or reversed",
        "b'abc'[::-1]",
        is_step,
    ),
    Rule(
        "* and ** in a display",
        None,
        "+, or update",
        "{**{}}",
        unpacks,
    ),
    Rule(
        "decode with what to do about errors",
        None,
        "catch UnicodeError",
        "b'\\xff'.decode('utf8', 'replace')",
        calls("decode", more_than(1)),
    ),
    Rule(
        "encode by keyword",
        None,
        "encode()",
        "'a'.encode(encoding='utf8')",
        calls("encode", more_than(1)),
    ),
    Rule(
        "split by keyword",
        None,
        "split(None, 1)",
        "'a b'.split(maxsplit=1)",
        calls("split", keywords_but()),
    ),
    Rule(
        "rsplit without a separator",
        None,
        "rpartition",
        "'a b'.rsplit(None, 1)",
        calls("rsplit", lambda call: fewer_than(1)(call) or getattr(call.args[0], "value", "") is None),
    ),
    Rule(
        "zip(strict=)",
        None,
        "compare the lengths",
        "zip([1], [2], strict=True)",
        calls("zip", keywords_but()),
    ),
    Rule(
        "sum by keyword",
        None,
        "sum(values, start)",
        "sum([1], start=2)",
        calls("sum", keywords_but()),
    ),
    Rule(
        "int by keyword",
        None,
        "int(text, base)",
        "int('1', base=10)",
        calls("int", keywords_but()),
    ),
    Rule(
        "print(flush=)",
        None,
        "sys.stdout.write",
        "print('', end='', flush=True)",
        calls("print", keywords_but("end", "sep", "file")),
    ),
    Rule(
        "json.dumps with more than separators",
        None,
        "json.dumps(value)",
        "__import__('json').dumps({}, sort_keys=True)",
        calls("dumps", keywords_but("separators")),
    ),
    Rule(
        "unpack_from by keyword",
        None,
        "unpack_from(layout, data, offset)",
        "__import__('struct').unpack_from('B', b'ab', offset=1)",
        calls("unpack_from", keywords_but()),
    ),
    Rule(
        "isinstance with a union",
        None,
        "a tuple",
        "isinstance(1, int | str)",
        calls("isinstance", lambda call: isinstance(call.args[-1], ast.BinOp)),
    ),
    Rule(
        "positional-only arguments",
        None,
        "arguments",
        "(lambda a, /: a)(1)",
        is_positional_only,
    ),
    Rule(
        "match, type, except* or async",
        None,
        "if, and no type",
        "match 1:\n    case 1: pass",
        is_a(
            "Match", "TypeAlias", "TryStar", "TypeVar", "AsyncFunctionDef", "AsyncFor", "AsyncWith", "Await"
        ),
    ),
    Rule(
        "a keyword in a class statement",
        None,
        "none",
        "class A(object, metaclass=type): pass",
        lambda node: isinstance(node, ast.ClassDef) and bool(node.keywords),
    ),
    Rule(
        "a decorator that is no name, attribute or call",
        None,
        "a name",
        "@[lambda f: f][0]\ndef f(): pass",
        has_odd_decorator,
    ),
)
