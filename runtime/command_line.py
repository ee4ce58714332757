# SPDX-License-Identifier: ISC
"""A command line by a table of options: words in, checked values out, one sentence for what is wrong. No I/O."""

from runtime.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

COLUMN = 26  # of what an option is for
WIDTH = 116


class UsageError(Exception):
    """The command line is wrong; the text says what would be right."""


@record("name value convert default is_many is_needed about")
class Option:
    """value: what its value is called, "" for an option that has none. convert: raises ValueError for a wrong one."""

    name: str
    value: str = ""
    convert: "Callable[[str], Any]" = str
    default: "Any" = None
    is_many: bool = False
    is_needed: bool = False
    about: str = ""


def one_of(*words: str) -> "Callable[[str], str]":
    def convert(text: str) -> str:
        if text not in words:
            raise ValueError(f"{text!r}, expected one of " + ", ".join(words))
        return text

    return convert


def parse(words: "Sequence[str]", options: "Sequence[Option]") -> "tuple[dict[str, Any], list[str]]":
    """Return the value of each option by its name, and the words that belong to none. Raises UsageError."""
    known = {option.name: option for option in options}
    found: dict[str, Any] = {
        option.name: [] if option.is_many else option.default if option.value else False for option in options
    }
    given, rest, at = set(), [], 0
    while at < len(words):
        word = words[at]
        at += 1
        if not word.startswith("-") or word == "-":
            rest.append(word)
            continue
        name, equals, text = word.partition("=")
        option = known.get(name)
        if option is None:
            raise UsageError(f"there is no option {name}")
        if option.value and not equals:
            if at == len(words):
                raise UsageError(f"{name} needs a value, {option.value}")
            text = words[at]
            at += 1
        elif equals and not option.value:
            raise UsageError(f"{name} takes no value")
        given.add(name)
        _set(found, option, text)
    for option in options:
        if option.is_needed and option.name not in given:
            raise UsageError(f"{option.name} is missing")
    return found, rest


def _set(found: "dict[str, Any]", option: Option, text: str) -> None:
    if not option.value:
        found[option.name] = True
        return
    try:
        value = option.convert(text)
    except ValueError as error:
        raise UsageError(f"{option.name}: {error}") from None
    if option.is_many:
        found[option.name].append(value)
    else:
        found[option.name] = value


def describe(options: "Sequence[Option]") -> list[str]:
    """Return the lines that tell people what options there are."""
    lines = []
    for option in options:
        head = f"  {option.name} {option.value}".rstrip()
        about = option.about
        if option.default is not None:
            about += f" ({option.default})"
        if option.is_many:
            about += "; may be repeated"
        if len(head) >= COLUMN:
            lines.append(head)
            head = ""
        words, line = about.split(), head + " " * (COLUMN - len(head))
        for word in words:
            if len(line) + len(word) > WIDTH:
                lines.append(line.rstrip())
                line = " " * COLUMN
            line += word + " "
        lines.append(line.rstrip())
    return lines
