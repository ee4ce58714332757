# SPDX-License-Identifier: ISC
"""What a package does when it is installed, upgraded, removed, purged: as debhelper has it. Pure."""

from sdk.deb.recipes import HOME, Recipe

SYSTEMD = "if [ -d /run/systemd/system ]; then\n{}fi\n"
RELOAD = "systemctl --system daemon-reload >/dev/null || true\n"
HEAD = "#!/bin/sh\nset -e\n"
ENABLE = """\
deb-systemd-helper unmask '{unit}' >/dev/null || true
if deb-systemd-helper --quiet was-enabled '{unit}'; then
	deb-systemd-helper enable '{unit}' >/dev/null || true
else
	deb-systemd-helper update-state '{unit}' >/dev/null || true
fi
"""
# what stays the same goes on
GO_ON = "systemctl try-reload-or-restart {units} >/dev/null || true\n"


def scripts(recipe: Recipe) -> dict[str, str]:
    """Return the maintainer scripts that a package needs."""
    units = " ".join(f"'{unit}'" for unit in recipe.units)
    has_units = bool(units) or any("systemd/system" in target for _, target in recipe.files)
    found = {
        "postinst": _on("configure", _python("py3compile", recipe), *_started(recipe, units, has_units)),
        "prerm": HEAD + _removed(recipe, units) + _python("py3clean", recipe),
    }
    gone = (SYSTEMD.format(indent(RELOAD)) if has_units else "") + recipe.last
    purged = "".join(f"deb-systemd-helper purge '{unit}' >/dev/null || true\n" for unit in recipe.units)
    purged += recipe.purge
    if gone or purged:
        found["postrm"] = HEAD + _if("remove", gone) + _if("purge", purged)
    return found


def _started(recipe: Recipe, units: str, has_units: bool) -> list[str]:
    if not has_units:
        return []
    start = f"deb-systemd-invoke start {units} >/dev/null || true\n"
    again = (
        GO_ON.format(units=units)
        if recipe.reloads
        else f"deb-systemd-invoke restart {units} >/dev/null || true\n"
    )
    how = f'if [ -n "$2" ]; then\n{indent(again)}else\n{indent(start)}fi\n' if units else ""
    return [*(ENABLE.format(unit=unit) for unit in recipe.units), SYSTEMD.format(indent(RELOAD + how))]


def _removed(recipe: Recipe, units: str) -> str:
    stop = SYSTEMD.format(f"\tdeb-systemd-invoke stop {units} >/dev/null || true\n") if units else ""
    return _if("remove", stop + recipe.first)


def _python(program: str, recipe: Recipe) -> str:
    folder = f" /{HOME}" if program == "py3compile" else ""
    return f"if command -v {program} >/dev/null 2>&1; then\n\t{program} -p {recipe.name}{folder}\nfi\n"


def _if(action: str, lines: str) -> str:
    return f'if [ "$1" = {action} ]; then\n{indent(lines)}fi\n' if lines else ""


def _on(action: str, *parts: str) -> str:
    return HEAD + _if(action, "".join(parts))


def indent(lines: str) -> str:
    return "".join(f"\t{line}\n" for line in lines.splitlines())
