# SPDX-License-Identifier: ISC
"""Which commands a POSIX shell text runs, those in substitutions and behind wrappers included. No I/O.

A reader for this repository's scripts, not a shell: arithmetic is skipped as text, aliases and eval are not followed.
"""

import re
from collections.abc import Iterator

KEYWORDS = {"if", "then", "else", "elif", "fi", "while", "until", "do", "done", "!", "{", "}", "esac"}
ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z_0-9]*=")
DEFAULT = re.compile(r"\$\{\w+:?-([\w./-]+)\}$")  # a program's name that a variable may replace
# commands that run another one: how many of their own words come first; None: the text of the first is a command too
WRAPPERS = {"exec": 0, "timeout": 1, "must": 0, "inside": 0, "change": None, "command": 0, "eval": 0}


class Reader:
    """One pass over a text; commands and functions are what was found."""

    def __init__(self, text: str):
        self.text, self.at = text, 0
        self.commands: list[list[str]] = []
        self.functions: set[str] = set()
        self.heredocs: list[
            tuple[str, bool]
        ] = []  # delimiters that wait for the line's end, and whether quoted

    def inner(self, text: str) -> None:
        """Read a text inside of ours: a substitution, or a wrapper's string."""
        inside = Reader(text)
        inside.read()
        self.commands += inside.commands
        self.functions |= inside.functions

    def substitution(self) -> str:
        """Read $(...) at the cursor, and what runs in it; return it as text."""
        start, depth = self.at, 0
        self.at += 1
        quote = ""
        while self.at < len(self.text):
            char = self.text[self.at]
            if char == "\\":
                self.at += 1
            elif quote:
                quote = "" if char == quote else quote
            elif char in "'\"" and depth:
                quote = char if char == "'" else ""
            elif char == "(":
                depth += 1
            elif char == ")":
                depth -= 1
                if not depth:
                    break
            self.at += 1
        self.at += 1
        found = self.text[start : self.at]
        if not found.startswith("$(("):
            self.inner(found[2:-1])
        return found

    def expansion(self) -> str:
        """Read $NAME, ${...} or $(...) at the cursor."""
        if self.text.startswith("$(", self.at):
            return self.substitution()
        start = self.at
        self.at += 1
        if self.text.startswith("{", self.at):
            depth = 0
            while self.at < len(self.text):
                if self.text.startswith("$(", self.at):
                    self.substitution()
                    continue
                depth += {"{": 1, "}": -1}.get(self.text[self.at], 0)
                self.at += 1
                if not depth:
                    break
        return self.text[start : self.at]

    def word(self) -> str:
        """Read one word at the cursor, quotes away."""
        found = ""
        while self.at < len(self.text) and self.text[self.at] not in " \t\n;&|()<>":
            char = self.text[self.at]
            if char == "\\":
                found += self.text[self.at + 1 : self.at + 2].strip("\n")
                self.at += 2
            elif char == "'":
                end = self.text.index("'", self.at + 1)
                found += self.text[self.at + 1 : end]
                self.at = end + 1
            elif char == '"':
                self.at += 1
                while self.text[self.at] != '"':
                    if self.text[self.at] == "\\":
                        self.at += 1
                    if self.text[self.at] == "$" and self.text[self.at - 1] != "\\":
                        found += self.expansion()
                    else:
                        found += self.text[self.at]
                        self.at += 1
                self.at += 1
            elif char == "$":
                found += self.expansion()
            else:
                found += char
                self.at += 1
        return found

    def end(self, words: list[str]) -> None:
        """A simple command is complete."""
        while words and (words[0] in KEYWORDS or ASSIGNMENT.match(words[0])):
            words = words[1:]
        if not words or words[0] in ("for", "case"):
            return
        name = words[0]
        if (default := DEFAULT.match(name)) is not None:
            name = default[1]
        self.commands.append([name, *words[1:]])
        if name == "trap" and len(words) > 2:
            self.inner(words[1])
        if name not in WRAPPERS or words[1:2] == ["-v"]:
            return
        rest = words[1:]
        if WRAPPERS[name] is None:
            self.inner(rest[0])
            rest = rest[1:]
        else:
            rest = rest[WRAPPERS[name] :]
        if rest:
            self.end(rest)

    def skip_heredocs(self) -> None:
        """Pass the bodies that begin behind this line's end; what is substituted in them runs."""
        for delimiter, is_quoted in self.heredocs:
            body = re.compile(rf"(?:.*\n)*?\t*{re.escape(delimiter)}(?:\n|$)").match(self.text, self.at)
            if body is None:
                raise ValueError(f"no end of <<{delimiter}")
            if not is_quoted:
                inside = Reader(body[0])
                while (at := body[0].find("$(", inside.at)) >= 0:
                    inside.at = at
                    inside.substitution()
                self.commands += inside.commands
            self.at = body.end()
        self.heredocs = []

    def read(self) -> None:
        words: list[str] = []
        cases: list[str] = []  # of each case around: "word", "pattern" or "body"
        text = self.text
        while self.at < len(text):
            char = text[self.at]
            if char in " \t":
                self.at += 1
            elif text.startswith("\\\n", self.at):
                self.at += 2
            elif char == "#":
                self.at = text.find("\n", self.at) if "\n" in text[self.at :] else len(text)
            elif char in "<>":
                self.redirection(words)
            elif char in "\n;&|()":
                self.at += 1
                if char == "(" and len(words) == 1 and text.startswith(")", self.at):
                    self.functions.add(words[0])
                    self.at += 1
                    words = []
                    continue
                if cases and cases[-1] == "pattern":
                    if char == ")":
                        cases[-1], words = "body", []
                    continue
                self.end(words)
                words = []
                if char == ";" and text.startswith(";", self.at) and cases:
                    self.at += 1
                    cases[-1] = "pattern"
                if char == "\n":
                    self.skip_heredocs()
            else:
                word = self.word()
                if cases and cases[-1] == "pattern":
                    if word == "esac":
                        cases.pop()
                    continue
                if word == "esac" and cases:
                    cases.pop()
                    continue
                words = [] if words and words[0] in KEYWORDS and len(words) == 1 else words
                words.append(word)
                if words[0] == "case" and word == "in":
                    cases.append("pattern")
                    words = []
        self.end(words)

    def redirection(self, words: list[str]) -> None:
        if words and words[-1].isdigit() and self.text[self.at - 1].isdigit():
            words.pop()
        heredoc = re.compile(r"<<-?\s*(['\"]?)(\w+)\1").match(self.text, self.at)
        if heredoc:
            self.heredocs.append((heredoc[2], bool(heredoc[1])))
            self.at = heredoc.end()
            return
        while self.at < len(self.text) and self.text[self.at] in "<>&| \t":
            self.at += 1
        self.word()


def commands(text: str) -> Iterator[list[str]]:
    """Yield each command's words."""
    reader = Reader(text)
    reader.read()
    yield from reader.commands


def functions(text: str) -> set[str]:
    """The functions that a text defines."""
    reader = Reader(text)
    reader.read()
    return reader.functions
