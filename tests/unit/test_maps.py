"""Every claim has a case, and what stands in TC8's map is there."""

from __future__ import annotations

import pytest

from conformance.standard import _data, catalogue, tc8


def test_every_claim_rests_on_a_requirement() -> None:
    assert not [name for name, row in catalogue.claims().items() if not row.rests_on]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (('says = "b"', 'says = ""'), "tc8.toml, family 1 (A): A_01 says nothing or names no case; both are needed"),
        (('id = "A_01"', 'id = "A_02"'), "tc8.toml, family 1 (A): case is 'A_02'; it should be one of A_01"),
        (('section = "1"', 'chapter = "1"'), "tc8.toml, family 1 (A): section missing; a row has"),
    ],
)
def test_a_mistake_in_the_tc8_map_is_said_in_one_line(change: tuple[str, str], line: str) -> None:
    right = (
        'title = "t"\n[[family]]\nid = "A"\nsection = "1"\nsays = "a"\nmembers = ["01"]\ncases = ["test_x"]\n'
        '[[family.case]]\nid = "A_01"\nsays = "b"\ncases = ["test_y"]\n'
    )
    assert tc8.parse(right, "tc8.toml")[0].check_of("A_01").covered_by("test_y")
    with pytest.raises(_data.DataError) as raised:
        tc8.parse(right.replace(*change), "tc8.toml")
    assert str(raised.value).startswith(line)
