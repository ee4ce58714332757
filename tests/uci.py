# SPDX-License-Identifier: ISC
"""A stand-in for OpenWrt's `uci` and its files: what documentation's commands do to /etc/config, in the folder UCI_DIR.

As a program: [-q] get | set | add | add_list | delete | commit. Changes are in the file at once, and commit is nothing.
"""

import os
import re
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path

Value = str | list[str]


class UciError(Exception):
    """A command that the real one does not take either: one sentence."""


@dataclass
class Section:
    kind: str
    name: str | None
    options: dict[str, Value] = field(default_factory=dict)


def parse(text: str) -> list[Section]:
    """Return a file's sections in order."""
    found: list[Section] = []
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        if words[0] == "config":
            found.append(Section(words[1], words[2] if len(words) > 2 else None))
        elif words[0] == "option":
            found[-1].options[words[1]] = words[2]
        elif words[0] == "list":
            held = found[-1].options.setdefault(words[1], [])
            assert isinstance(held, list)
            held.append(words[2])
        else:
            raise UciError(f"{line!r} is no line of a configuration file")
    return found


def write(sections: list[Section]) -> str:
    lines = []
    for section in sections:
        lines.append(f"config {section.kind}" + (f" '{section.name}'" if section.name else ""))
        for key, value in section.options.items():
            lines += (
                [f"\toption {key} '{value}'"]
                if isinstance(value, str)
                else [f"\tlist {key} '{item}'" for item in value]
            )
    return "\n".join(lines) + "\n"


class Uci:
    def __init__(self, folder: Path):
        self.folder = folder

    def load(self, package: str) -> list[Section]:
        path = self.folder / package
        if not path.exists():
            raise UciError(f"there is no {path}")
        return parse(path.read_text())

    def save(self, package: str, sections: list[Section]) -> None:
        (self.folder / package).write_text(write(sections))

    def find(self, sections: list[Section], name: str) -> Section | None:
        """By name, or as @TYPE[NUMBER]."""
        if match := re.fullmatch(r"@([\w-]+)\[(-?\d+)\]", name):
            of_kind = [section for section in sections if section.kind == match[1]]
            number = int(match[2])
            return of_kind[number] if -len(of_kind) <= number < len(of_kind) else None
        return next((section for section in sections if section.name == name), None)

    def change(self, command: str, words: list[str]) -> str:
        """Carry a command out; return what it prints. Raises UciError."""
        if command == "commit":
            return ""
        if command == "add":
            sections = self.load(words[0])
            sections.append(Section(words[1], None))
            self.save(words[0], sections)
            return f"cfg{len(sections):02d}\n"
        place, equals, value = words[0].partition("=")
        package, name, *rest = place.split(".", 2)
        sections = self.load(package)
        section = self.find(sections, name)
        if bool(equals) != (command in ("set", "add_list")):
            raise UciError(f"{command} {words[0]}: expected NAME=VALUE for set and add_list alone")
        if command == "set" and not rest:
            if section is None:
                sections.append(Section(value, name))
            else:
                section.kind = value
            self.save(package, sections)
            return ""
        if section is None:
            raise UciError(f"{words[0]}: there is no section {name}")
        return self.change_option(command, package, sections, section, rest[0] if rest else "", value)

    def change_option(
        self, command: str, package: str, sections: list[Section], section: Section, key: str, value: str
    ) -> str:
        if command == "get":
            if key not in section.options:
                raise UciError(f"{package}: there is no option {key}")
            held = section.options[key]
            return (held if isinstance(held, str) else " ".join(held)) + "\n"
        if command == "set":
            section.options[key] = value
        elif command == "add_list":
            held = section.options.get(key, [])
            section.options[key] = [*([held] if isinstance(held, str) else held), value]
        elif command == "delete" and key:
            del section.options[key]
        elif command == "delete":
            sections.remove(section)
        else:
            raise UciError(f"{command} is no command of this stand-in")
        self.save(package, sections)
        return ""


if __name__ == "__main__":
    arguments = [word for word in sys.argv[1:] if word != "-q"]
    try:
        sys.stdout.write(Uci(Path(os.environ["UCI_DIR"])).change(arguments[0], arguments[1:]))
    except (UciError, KeyError, IndexError) as error:
        sys.exit("" if "-q" in sys.argv else f"uci: {error}")
