# SPDX-License-Identifier: ISC
"""Which f-strings the oldest MicroPython cannot read. It knows plain ones only. No I/O."""

import ast
import io
import tokenize
from collections.abc import Iterator


def odd_f_strings(text: str, tree: ast.AST) -> Iterator[int]:
    """Yield the lines of the f-strings that are joined to other strings, raw, nested, or have braces doubled."""
    inner: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr) and id(node) not in inner:
            inside = [each for each in ast.walk(node) if each is not node and isinstance(each, ast.JoinedStr)]
            inner |= set(map(id, inside))
            # a format without fields is a JoinedStr too
            is_nested = any(isinstance(value, ast.FormattedValue) for each in inside for value in each.values)
            source = ast.get_source_segment(text, node) or ""
            is_raw = "r" in source[: min(source.find("'") % 99, source.find('"') % 99)].lower()
            has_ends = any(map(_is_end, ast.walk(node)))
            if is_nested or has_ends or is_raw or "{{" in source or "}}" in source or _strings(source) > 1:
                yield node.lineno


def _is_end(node: ast.AST) -> bool:
    """Return whether something in a field is taken for its end: a text with such a character, a lambda's colon."""
    if isinstance(node, ast.FormattedValue):
        texts = [each.value for each in ast.walk(node.value) if isinstance(each, ast.Constant)]
        return any(set(":{}") & set(text) for text in texts if isinstance(text, str)) or any(
            isinstance(each, ast.Lambda) for each in ast.walk(node.value)
        )
    return False


def _strings(source: str) -> int:
    """Return how many strings stand beside each other in an expression that is but strings."""
    count = depth = 0
    for token in tokenize.generate_tokens(io.StringIO(f"({source})").readline):
        kind = tokenize.tok_name[token.type]
        count += kind in ("STRING", "FSTRING_START") and depth == 0  # the latter since CPython 3.12
        depth += (kind == "FSTRING_START") - (kind == "FSTRING_END")
    return count
