# SPDX-License-Identifier: ISC
"""One table of packets and results for every translator: what RFC 7915 asks for, and who does something else.

Where a translator is known to differ, OTHERWISE says how, and the test fails when it no longer does: then the table is
to be mended. CONFORMANCE_OUT names a folder to keep what came in, which docs/conformance.md is made of
(`make conformance`).
"""

import os
import uuid
from pathlib import Path

import conformance_table as table
import pytest
import translators

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")


@pytest.fixture(scope="module", params=list(translators.KINDS))
def came(request, tmp_path_factory):
    """What comes out for each case, by its name; all cases are sent, those of the same rules together."""
    made = translators.make(
        request.param, tmp_path_factory.mktemp("conformance"), f"cf{uuid.uuid4().hex[:8]}"
    )
    found = {}
    try:
        for rules in {case.rules: 0 for case in table.CASES.values()}:
            wire = made.wire(table.RULES[rules])
            for name, case in table.CASES.items():
                if case.rules == rules:
                    found[name] = wire.send(case.raw)
            wire.close()
        if folder := os.environ.get("CONFORMANCE_OUT"):
            table.save(Path(folder), made.name, made.version, found)
    finally:
        made.close()
    return made.name, found


@pytest.mark.parametrize("section", table.SECTIONS)
def test_packets_are_translated_as_the_section_says_or_as_is_known(came, section):
    target, found = came
    wrong = []
    for name, case in table.CASES.items():
        instead = table.OTHERWISE.get((target, name))
        if case.section == section and case.claim(found[name]) is bool(instead):
            wrong.append(f"{name}: {f'no longer {instead}' if instead else table.brief(found[name])}")
    assert not wrong, "\n".join(wrong)
