# SPDX-License-Identifier: ISC
"""slim.py FOLDER: compile the Python files below a folder, without what only a reader or another interpreter needs.

Annotations and docstrings, assertions, and what is for type checkers or for MicroPython alone go: a third of what is
compressed. Lines keep their numbers, for tracebacks. A file NAME.py becomes NAME.pyc beside it, of the same date, so
that compileall does not compile it again. `record` needs no annotations; other libraries' decorators may.
"""

import ast
import importlib.util
import marshal
import struct
import sys
import types
from pathlib import Path

CONSTANTS = {"TYPE_CHECKING": False, "IS_MICRO": False}
TIMESTAMP = 0  # kind of a compiled file: known to be of its text by date and size


def value_of(test: ast.expr) -> bool | None:
    """Return what a condition always is, None if that is not known."""
    if isinstance(test, ast.Name):
        return CONSTANTS.get(test.id)
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        value = value_of(test.operand)
        return None if value is None else not value
    if isinstance(test, ast.BoolOp):
        decisive = isinstance(test.op, ast.Or)
        values = [value_of(each) for each in test.values]
        if decisive in values:
            return decisive
        return None if None in values else not decisive
    return None


class Slim(ast.NodeTransformer):
    """Takes annotations out, and branches that are never taken."""

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.generic_visit(node)
        node.returns = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt:
        self.generic_visit(node)
        made = ast.Pass() if node.value is None else ast.Assign([node.target], node.value)
        return ast.copy_location(made, node)

    def visit_If(self, node: ast.If) -> ast.stmt | list[ast.stmt]:
        value = value_of(node.test)
        self.generic_visit(node)
        if value is None:
            return node
        return (node.body if value else node.orelse) or ast.copy_location(ast.Pass(), node)

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        value = value_of(node.test)
        self.generic_visit(node)
        return node if value is None else node.body if value else node.orelse


def plain(code: types.CodeType) -> types.CodeType:
    """The same without the names of the classes around functions, which tracebacks do not show."""
    constants = [plain(each) if isinstance(each, types.CodeType) else each for each in code.co_consts]
    return code.replace(co_consts=tuple(constants), co_qualname=code.co_name)


def compile_file(path: Path, name: str) -> None:
    """name: of the file in tracebacks."""
    text, status = path.read_bytes(), path.stat()
    tree = ast.fix_missing_locations(Slim().visit(ast.parse(text, name)))
    code = marshal.dumps(plain(compile(tree, name, "exec", dont_inherit=True, optimize=2)))
    header = struct.pack(
        "<4sIII", importlib.util.MAGIC_NUMBER, TIMESTAMP, int(status.st_mtime), status.st_size
    )
    path.with_suffix(".pyc").write_bytes(header + code)


def main() -> None:
    folder = Path(sys.argv[1])
    for path in sorted(folder.rglob("*.py")):
        compile_file(path, f"/{path.relative_to(folder)}")


if __name__ == "__main__":
    main()
