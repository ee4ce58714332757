# SPDX-License-Identifier: ISC
"""What the oldest MicroPython of released OpenWrt does otherwise than CPython: a table, one row a difference.

From py/, extmod/ and ports/unix/ of MicroPython between v1.23.0 and v1.28.0, and from asking both. `since` is the
version that has it, None where 1.28 has not either. `example` is what the row finds: where it is not there, it fails,
or its value is another than CPython's.
"""

import ast
from collections.abc import Callable
from dataclasses import dataclass

from sdk.micropython_lint.nodes import (
    begins_with_tuple,
    calls,
    defines,
    either,
    fewer_than,
    formats_oddly,
    has_keyword,
    has_long_pattern,
    has_odd_decorator,
    is_a,
    is_positional_only,
    is_step,
    is_view_operation,
    keywords_but,
    layout_has,
    more_than,
    of_view,
    reads_of_super,
    unpacks,
)

Version = tuple[int, int]
OF_STRUCT = "pack pack_into unpack unpack_from calcsize"


@dataclass(frozen=True)
class Rule:
    what: str
    since: Version | None
    instead: str
    example: str
    finds: Callable[[ast.AST], bool]


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
        calls("len bool", of_view),
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
        "iter with a sentinel",
        None,
        "a loop",
        "iter(lambda: 1, 1)",
        calls("iter", more_than(1)),
    ),
    Rule(
        "a method that nothing calls there",
        None,
        "a call",
        "class A:\n    def __index__(self): return 0\n[1][A()]",
        defines(
            *[
                "__index__",
                "__format__",
                "__bytes__",
                "__missing__",
                "__init_subclass__",
                "__class_getitem__",
            ],
        ),
    ),
    Rule(
        "deque without values and length, or by keyword",
        None,
        "deque((), length)",
        "__import__('collections').deque()",
        calls("deque", fewer_than(2)),
    ),
    Rule(
        "round, sub or namedtuple by keyword",
        None,
        "arguments by their place",
        "round(1.5, ndigits=0)",
        calls("round sub namedtuple", keywords_but()),
    ),
    Rule(
        "union or intersection of more than one",
        None,
        "one call for each",
        "{1}.union([2], [3])",
        calls("union intersection", more_than(1)),
    ),
    Rule(
        "a layout with ?",
        None,
        "B",
        "__import__('struct').pack('?', True)",
        calls(OF_STRUCT, layout_has("?")),
    ),
    Rule(
        "a layout with = or x",
        None,
        "aligned fields",
        "__import__('struct').calcsize('=Hx')",
        calls(OF_STRUCT, layout_has("=x")),
    ),
    Rule(
        "a pattern with {count}, (?P<name>) or (?=",
        None,
        "a plainer one",
        "__import__('re').match('a{2}', 'aa').group(0)",
        calls("match search compile", has_long_pattern),
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
        "slice()",
        None,
        "value[begin:end]",
        "slice(1, 2)",
        calls("slice", more_than(0)),
    ),
    Rule(
        "a property of super()",
        None,
        "a method",
        """class A:
    x = property(lambda self: 1)
class B(A):
    x = property(lambda self: super().x + 1)
B().x""",
        reads_of_super,
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
        calls("encode", has_keyword("encoding", "errors")),
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

# of the text around it, which a node of the tree does not show: see f_strings.py
ODD_F_STRING = Rule(
    "an f-string that is joined to a string, raw, nested, or has {{, }}, a lambda, or a text with : in a field",
    (1, 28),
    "%, or a plain one",
    "f'{{'",
    is_a("TemplateStr"),
)
