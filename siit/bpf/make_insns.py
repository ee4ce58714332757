# SPDX-License-Identifier: ISC
"""Compile the fast path and put its instructions into insns.h: `make bpf`, or `python siit/bpf/make_insns.py`.

The header is kept with the sources, so that nothing that builds siit (an OpenWrt tree, a Gluon tree, a server) needs a
compiler for BPF. It has the program for each byte order. A test makes it again and finds it unchanged, where there is
the clang that it names. Another one writes the same program with other instructions.
"""

import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
HEADER = HERE / "insns.h"
CLANG = "clang-14"  # Debian 12's
# of the third edition of the instruction set, which Linux has since 5.1
FLAGS = ["-Oz", "-mcpu=v3", "-Wall", "-Wextra", "-Werror"]
MAPS = {"rules": 0, "counters": 1}  # as the loader counts them
LOAD_64 = 0x18  # the instruction that loads a map's address; it takes two places


class BuildError(Exception):
    """There is no program; one sentence says why."""


def compile_for(target: str) -> bytes:
    """The object file for bpfel or bpfeb."""
    triplet = subprocess.run(["gcc", "-print-multiarch"], capture_output=True, text=True, check=True)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "fast.o"
        command = [CLANG, *FLAGS, "-target", target, f"-I/usr/include/{triplet.stdout.strip()}"]
        done = subprocess.run(
            [*command, "-c", HERE / "fast.bpf.c", "-o", made], capture_output=True, text=True
        )
        if done.returncode:
            raise BuildError(done.stderr)
        return made.read_bytes()


def sections(elf: bytes, order: str) -> dict[str, tuple[bytes, int]]:
    """A 64-bit ELF file's sections by name: content, and the type."""
    (offset,) = struct.unpack_from(order + "Q", elf, 0x28)
    size, count, names_at = struct.unpack_from(order + "HHH", elf, 0x3A)
    headers = [struct.unpack_from(order + "IIQQQQIIQQ", elf, offset + i * size) for i in range(count)]
    names = elf[headers[names_at][4] :]
    return {
        names[header[0] : names.index(b"\0", header[0])].decode(): (
            elf[header[4] : header[4] + header[5]],
            header[1],
        )
        for header in headers
    }


def instructions(elf: bytes, order: str) -> list[tuple[int, int, int, int, int]]:
    """(code, dst, src, off, imm) of the program; where it loads a map's address, imm is the map's number."""
    found = sections(elf, order)
    code, symbols, names = found["classifier"][0], found[".symtab"][0], found[".strtab"][0]
    maps = {}
    for offset, info in struct.iter_unpack(order + "QQ", found[".relclassifier"][0]):
        (name,) = struct.unpack_from(order + "I", symbols, (info >> 32) * 24)
        maps[offset // 8] = MAPS[names[name : names.index(b"\0", name)].decode()]
    made = []
    for at, (op, registers, off, imm) in enumerate(struct.iter_unpack(order + "BBhi", code)):
        dst, src = (registers & 15, registers >> 4) if order == "<" else (registers >> 4, registers & 15)
        if at in maps:
            if op != LOAD_64 or imm:
                raise BuildError(f"instruction {at} has a relocation and loads no map")
            src, imm = 1, maps[at]  # BPF_PSEUDO_MAP_FD
        made.append((op, dst, src, off, imm))
    return made


def array(name: str, program: list[tuple[int, int, int, int, int]]) -> str:
    texts = [f"{{0x{op:02x},{dst},{src},{off},{imm}}}," for op, dst, src, off, imm in program]
    lines, line = [], ""
    for text in texts:
        if len(line) + len(text) > 116:
            lines.append(line)
            line = ""
        line += text
    body = "\n".join(f"\t{each}" for each in [*lines, line])
    return f"static const struct bpf_insn {name}[] = {{\n{body}\n}};\n"


def header() -> str:
    little = array("siit_fast_insns", instructions(compile_for("bpfel"), "<"))
    big = array("siit_fast_insns", instructions(compile_for("bpfeb"), ">"))
    return (
        "/* SPDX-License-Identifier: GPL-2.0-only */\n"
        f"/* fast.bpf.c, made by make_insns.py with {CLANG}. Do not edit. {{code, dst, src, off, imm}} */\n"
        "#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__\n"
        f"{little}#else\n{big}#endif\n"
    )


def main() -> int:
    if not shutil.which(CLANG):
        print(f"siit: there is no {CLANG}, expected Debian 12's package of that name", file=sys.stderr)
        return 1
    try:
        HEADER.write_text(header())
    except BuildError as error:
        print(f"siit: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
