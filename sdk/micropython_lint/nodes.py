# SPDX-License-Identifier: ISC
"""Tests for nodes of a syntax tree, of which the rules are made."""

import ast
from collections.abc import Callable

VIEWS = ("keys", "values", "items")


def calls(names: str, wrong: Callable[[ast.Call], bool]) -> Callable[[ast.AST], bool]:
    """Return a test for a call of a function or a method of one of these names whose arguments are wrong."""

    def finds(node: ast.AST) -> bool:
        if not isinstance(node, ast.Call):
            return False
        called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", None)
        return called in names.split() and wrong(node)

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


def has_keyword(*named: str) -> Callable[[ast.Call], bool]:
    return lambda call: any(keyword.arg in named for keyword in call.keywords)


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


def defines(*names: str) -> Callable[[ast.AST], bool]:
    """Return a test for the definition of a method by one of these names."""
    return lambda node: isinstance(node, ast.FunctionDef) and node.name in names


def layout_has(letters: str) -> Callable[[ast.Call], bool]:
    return lambda call: bool(call.args) and any(letter in str(_text(call.args[0])) for letter in letters)


def _text(node: ast.AST) -> object:
    return node.value if isinstance(node, ast.Constant) else ""


def has_long_pattern(call: ast.Call) -> bool:
    """A pattern with a count, a named group, or a look at what is around."""
    pattern = str(_text(call.args[0])) if call.args else ""
    return "{" in pattern or "(?" in pattern.replace("(?:", "")


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


def reads_of_super(node: ast.AST) -> bool:
    """super().x that is not called: a property, for what is a method is."""
    return any(
        is_of_super(child) and child is not getattr(node, "func", None)
        for child in ast.iter_child_nodes(node)
    )


def is_of_super(node: ast.AST) -> bool:
    value = getattr(node, "value", None)
    return (
        isinstance(node, ast.Attribute)
        and isinstance(value, ast.Call)
        and getattr(value.func, "id", "") == "super"
    )
