# SPDX-License-Identifier: ISC
"""docs/conformance.md says what the recordings say, and the recordings are of the table's cases."""

import conformance_page as page
import conformance_table as table
import pytest

RECORDED = sorted(file.stem for file in table.RECORDINGS.glob("*.json"))


def test_the_page_is_that_of_the_table_and_the_recordings():
    assert page.PAGE.read_text() == page.render(), "`make conformance` writes it anew"


def test_every_case_has_a_section_that_the_page_has():
    assert {case.section for case in table.CASES.values()} == set(table.SECTIONS)
    assert len(table.CASES) == sum(len(part.CASES) for part in table.PARTS), "two cases have one name"


@pytest.mark.parametrize("target", RECORDED)
def test_a_recording_differs_where_the_table_says_so_and_nowhere_else(target):
    recorded = table.recording(target)["cases"]
    differ = {name for name, came in recorded.items() if not table.CASES[name].claim(came)}
    assert differ == {name for other, name in table.OTHERWISE if other == target and name in recorded}


def test_siit_was_asked_everything():
    assert set(table.recording("siit")["cases"]) == set(table.CASES)


def test_a_recording_of_other_packets_counts_as_not_run(monkeypatch):
    name, case = next(iter(table.CASES.items()))
    other = table.CASES["a header whose checksum is wrong is dropped"]
    monkeypatch.setitem(table.CASES, name, type(case)(case.section, other.packets, case.is_met))
    assert f"| {name} | not run |" in page.render()
