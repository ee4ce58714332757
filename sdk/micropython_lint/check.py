# SPDX-License-Identifier: ISC
"""A file's text in, findings out: by the rules, and by the names that the oldest MicroPython has. No I/O."""

import ast
import builtins
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from sdk.micropython_lint.f_strings import odd_f_strings
from sdk.micropython_lint.names import BUILTINS, METHODS, MODULES, OF_CLASSES
from sdk.micropython_lint.rules import ODD_F_STRING, RULES, Rule

MICROPYTHON_SAFE = ("xlat464", "prefixd", "runtime", "l3roamd_py")  # rooms that run on both Pythons
NOT_SAFE = ("runtime/usage.py", "runtime/notify.py")  # for commands on CPython, and systemd
LACKING = frozenset(name for name in dir(builtins) if name[0] != "_") - frozenset(BUILTINS.split())
GUARDS = ("IS_MICRO", "TYPE_CHECKING", "hasattr")  # whoever asks knows that there are two Pythons


@dataclass(frozen=True)
class Finding:
    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}"


def check(files: Mapping[str, str], beside: Mapping[str, str] | None = None) -> list[Finding]:
    """Return what is wrong in files (name -> text) that make up the rooms together, file by file.

    beside: what else is in the rooms and is used, but not checked.
    """
    trees = {name: ast.parse(text, name) for name, text in files.items()}
    all_trees = [*trees.values(), *map(ast.parse, (beside or {}).values())]
    ours = {name for tree in all_trees for name in own_names(tree)}
    known = frozenset(METHODS.split() + OF_CLASSES.split()) | ours
    found = [finding for name, tree in trees.items() for finding in _check(name, tree, known)]
    for name, text in files.items():
        found += [Finding(name, line, describe(ODD_F_STRING)) for line in odd_f_strings(text, trees[name])]
    return found


def own_names(tree: ast.AST) -> Iterator[str]:
    """The names that a text defines: its functions, classes and variables, and its objects' attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.attr if isinstance(node, ast.Attribute) else node.id
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name.rpartition(".")[2] for alias in node.names)


def _check(name: str, tree: ast.AST, known: frozenset[str] | set[str]) -> Iterator[Finding]:
    guarded = set(map(id, _guarded(tree)))
    mine = set(own_names(tree)) | {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        for rule in RULES:
            if rule.finds(node):
                yield Finding(name, line, describe(rule))
        if id(node) not in guarded:
            for what in _missing(node, known, mine):
                yield Finding(name, line, f"{what}: the oldest MicroPython has none")


def describe(rule: Rule) -> str:
    since = "no MicroPython has it"
    if rule.since is not None:
        since = "MicroPython has it since {}.{}".format(*rule.since)
    return f"{rule.what}: {since}; instead: {rule.instead}"


def _missing(node: ast.AST, known: Iterable[str], mine: Iterable[str]) -> Iterator[str]:
    """What the node uses of an interpreter that is not there."""
    if isinstance(node, ast.Import):
        yield from (f"import {each.name}" for each in node.names if not _is_there(each.name))
    elif isinstance(node, ast.ImportFrom):
        module = node.module or ""
        if node.level or not _is_there(module):
            yield f"from {'.' * node.level}{module} import"
        elif module in MODULES:
            there = MODULES[module].split()
            yield from (f"{module}.{each.name}" for each in node.names if each.name not in there)
    elif isinstance(node, ast.Attribute):
        if isinstance(node.value, ast.Name) and node.value.id in MODULES and node.value.id in mine:
            if node.attr not in MODULES[node.value.id].split():
                yield f"{node.value.id}.{node.attr}"
        elif node.attr not in known and not any(node.attr in names.split() for names in MODULES.values()):
            yield f".{node.attr}"
    elif isinstance(node, ast.Name) and node.id in LACKING and node.id not in mine:
        yield node.id


def _is_there(module: str) -> bool:
    return module in MODULES or module.partition(".")[0] in MICROPYTHON_SAFE


def _guarded(tree: ast.AST) -> Iterator[ast.AST]:
    """What runs only where somebody has asked which Python this is: by a condition, or by ImportError."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If | ast.IfExp) and _asks(node.test):
            yield from ast.walk(node)
        elif isinstance(node, ast.Try) and any(_is_import_error(each.type) for each in node.handlers):
            for statement in node.body:
                yield from ast.walk(statement)
        elif isinstance(node, ast.FunctionDef) and any(_ends_there(each) for each in node.body):
            yield from ast.walk(node)  # "without signals there is no more to do" and the like


def _asks(test: ast.AST) -> bool:
    names = (getattr(node, "id", getattr(node, "attr", "")) for node in ast.walk(test))
    return any(name in GUARDS for name in names)


def _is_import_error(kind: ast.AST | None) -> bool:
    return isinstance(kind, ast.Name) and kind.id == "ImportError"


def _ends_there(statement: ast.AST) -> bool:
    return isinstance(statement, ast.Try) and any(
        _is_import_error(each.type) and isinstance(each.body[-1], ast.Return) for each in statement.handlers
    )
