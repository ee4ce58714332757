# SPDX-License-Identifier: ISC
"""`prefixd`: the command."""

import sys

from prefixd import net, options
from runtime.command import end_with, version_of


def tell():
    """Print the help, which a router's package leaves out."""
    try:
        from prefixd.help import TEXT
    except ImportError:
        TEXT = "Usage: prefixd --status [--json]; `service prefixd` runs it, as /etc/config/464xlat says\n"
    sys.stdout.write(TEXT)
    return 0


def main(arguments):
    """Run the command; return the exit status."""
    try:
        chosen = options.parse(arguments)
    except options.UsageError as error:
        net.log(str(error))
        return 2
    if "help" in chosen:
        return tell()
    if "version" in chosen:
        print(version_of("prefixd"))
        return 0
    if "status" in chosen or "withdraw" in chosen:
        from prefixd import table

        if "withdraw" in chosen:
            return table.withdraw(chosen["socket"])
        return table.show(chosen["socket"], chosen["json"])
    from prefixd import daemon

    return daemon.run(chosen)


def run():
    end_with(lambda: main(sys.argv[1:]))


if __name__ == "__main__":
    run()
