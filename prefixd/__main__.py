# SPDX-License-Identifier: ISC
"""`prefixd`: the command."""

import sys

from prefixd import net, options


def main(arguments):
    """Run the command; return the exit status."""
    try:
        chosen = options.parse(arguments)
    except options.UsageError as error:
        net.log(str(error))
        return 2
    if "help" in chosen:
        sys.stdout.write(options.HELP)
        return 0
    if "status" in chosen:
        from prefixd import table

        return table.show(chosen["socket"], chosen["json"])
    from prefixd import daemon

    return daemon.run(chosen)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
