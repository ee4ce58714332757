# SPDX-License-Identifier: ISC
"""Programs that stay: when one has started, and when it has not."""

import pytest

from reach import process


def test_a_program_that_says_what_is_wrong_and_takes_its_time_to_end_has_not_started(tmp_path):
    program = tmp_path / "reach-relay"
    sentence = "reach-relay: tcp port 80 at 203.0.113.7 cannot be had: Address already in use"
    program.write_text(f'#!/bin/sh\necho "{sentence}" >&2\nsleep 0.3\nexit 1\n')
    program.chmod(0o755)
    with pytest.raises(process.ProcessError, match="Address already in use"):
        process.start(tmp_path, "relay", [str(program), "relay.conf"])
    assert process.running(tmp_path, "relay") is None
