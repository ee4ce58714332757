# SPDX-License-Identifier: ISC
from runtime.command import end_with
from server.cli import main

end_with(main)
