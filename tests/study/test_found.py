"""What of a study's data is there."""

from __future__ import annotations

from pathlib import Path

from support.driving import STUDY, resolved
from support.image_sets import draw

from coretune.spec.load import resolve_study
from coretune.spec.yamlfile import parse_yaml
from coretune.study.found import look, look_at_data

LOADED = resolve_study(parse_yaml(STUDY, "tiny.yaml"))


def test_the_fingerprint_is_of_the_data() -> None:
    study = resolved()
    digest = look_at_data(LOADED, LOADED.cells[0].dataset)
    assert len(digest) == 64 and set(study.fingerprints.values()) == {digest}
    assert {cell.fingerprint for cell in study.cells} == {digest}


def test_a_domain_that_cannot_be_held_out_leaves_the_others(tmp_path: Path) -> None:
    for value, name in enumerate(("a/cat", "a/dog", "b/cat", "c/cat")):
        for i in range(6):
            draw(tmp_path / "mine" / name / f"{i}.png", 6 * value + i)
    text = f"{{mine: {{path: {tmp_path / 'mine'}, held_out_domain: [a, b], image_size: 8}}}}"
    loaded = resolve_study(parse_yaml(STUDY, "tiny.yaml"), [f"datasets={text}", "methods=[ce]"])
    found = look(loaded, loaded.cells)
    assert [found.has(cell) for cell in loaded.cells] == [False, True]
    (wrong,) = found.wrong
    assert str(wrong).startswith("data set mine-a: too few images are left to train on in the source domains")
    assert found.domains["mine-b"].sources == ("a", "c")
