"""What `coretune robust eval` shows: threat model, curve, verdict with reasons; corruptions; calibration."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from support.robustness import attack, calibration, corruptions, evaluation

from coretune.results.record import Evaluation
from coretune_cli.robust_transfer import Transfer, not_tested, verdict_of
from coretune_cli.robust_view import Found, view


def drawn(label: str, found: Evaluation, width: int = 100, *, recorded: bool = False) -> str:
    console = Console(width=width, record=True, file=io.StringIO(), color_system=None)
    console.print(view([Found(label, found, recorded)], width))
    return "\n".join(line.rstrip() for line in console.export_text().splitlines())


def test_an_attack_tells_its_threat_model_its_curve_and_the_verdict() -> None:
    text = drawn("attack", attack())
    lines = [line.split() for line in text.splitlines()]
    assert lines[0] == ["attack", "on", "test,", "200", "images,", "seed", "0", "done,", "took", "1m01s"]
    assert ["threat", "L∞,", "ε", "=", "1/255,", "pgd", "and", "square,", "200", "images,", "seed", "0"] in lines
    assert ["ε", "robust", "top1", "%", "after", "pgd", "after", "square"] in lines
    assert ["0", "92.0"] in lines and ["1/255", "17.2", "18.5", "17.2"] in lines
    assert ["clean", "92.0", "%"] in lines and ["robust", "17.2", "%", "at", "ε", "=", "1/255"] in lines
    assert "0.002 (255 × it: 0.51), 100 images, 3 unbroken" in text
    assert ["reliable", "no"] in lines and "– zero gradients: of 40 % of the images" in text
    assert "DLR is not defined" in text


def test_a_reliable_attack_says_yes() -> None:
    text = drawn("attack", attack(reliable=True), recorded=True)
    assert ["reliable", "yes"] in [line.split() for line in text.splitlines()] and "recorded, took 1m01s" in text


@pytest.mark.parametrize(("images", "said"), [(1, "yes, by probes of 1 image"), (40, "yes, by probes of 40 images")])
def test_a_verdict_says_on_how_many_images_it_rests(images: int, said: str) -> None:
    found = attack(reliable=True)
    found.details["verdict"]["probes"] = {"images": images}
    assert said in drawn("attack", found)


def transferred(alone: int) -> Evaluation:
    probes = {"images": 40, "surrogate_fooled": 40, "transfer": 30, "transfer_alone": alone}
    reasons = [f"transfer beats white box: images of another model alone fool {alone} of 40 images"] if alone else []
    verdict = {"reliable": not alone, "reasons": reasons, "probes": probes}
    return evaluation("transfer", {"clean_top1": 90.0, "transfer_top1": 25.0}, {"verdict": verdict, "notes": []})


def test_transfer_takes_part_in_the_verdict() -> None:
    found = attack(reliable=True)
    beaten = Transfer("from run 12: fools 30 of 40 images, 9 of them alone", transferred(9))
    console = Console(width=100, record=True, file=io.StringIO(), color_system=None)
    console.print(view([Found("attack", found, False, beaten)], 100))
    text = console.export_text()
    assert ["reliable", "no"] in [line.split() for line in text.splitlines()]
    assert "from run 12: fools 30" in text and "– transfer beats white box: images of another model alone" in text
    assert verdict_of(found, Transfer("from run 12", transferred(0))) == {
        "reliable": True,
        "reasons": [],
        "probed": None,
        "transfer": "from run 12",
    }
    assert verdict_of(attack(), beaten)["reasons"][0].startswith("zero gradients")
    assert verdict_of(found, not_tested("why"))["transfer"] == "not tested: why"
    assert verdict_of(found, None)["transfer"] == "not tested"


def test_corruptions_are_a_table_by_severity() -> None:
    text = drawn("corruptions", corruptions())
    lines = [line.split() for line in text.splitlines()]
    assert ["error", "%", "of", "at", "1", "at", "5", "mean"] in lines
    assert ["gaussian", "noise", "10.0", "30.0", "20.0"] in lines and ["frost", "20.0", "40.5", "30.2"] in lines
    assert "error 25.1 %, mean over" in text and "error 8.0 %" in text and "drawn by coretune" in text


def test_calibration_is_raw_and_scaled() -> None:
    text = drawn("calibration", calibration())
    lines = [line.split() for line in text.splitlines()]
    assert ["raw", "6.00", "0.2500", "0.5000"] in lines and ["temperature", "1.5", "3.00", "0.2400", "0.4500"] in lines
    assert "4 of equal width" in text and "fitted on 50 images of the validation part" in text
    alone = drawn("calibration", calibration(scaled=False))
    assert "temperature 1" not in alone and "there is none" in alone


def test_another_evaluation_shows_its_numbers() -> None:
    assert "knn_top1" in drawn("knn", evaluation("knn", {"knn_top1": 50.25}, {}))


def test_a_long_line_goes_on_below_itself() -> None:
    found = attack()
    found = found.replace(details={**found.details, "threat": "one two three four five six seven eight nine ten"})
    lines = drawn("attack", found, 40).splitlines()
    place = next(number for number, line in enumerate(lines) if "threat" in line)
    assert lines[place].index("one") == 13 and lines[place + 1].startswith(" " * 13) and lines[place + 1][13] != " "


@pytest.mark.parametrize("width", [50, 80])
@pytest.mark.parametrize("label", ["attack", "corruptions", "calibration"])
def test_no_table_is_wider_than_the_screen(label: str, width: int) -> None:
    found = {"attack": attack, "corruptions": corruptions, "calibration": calibration}[label]()
    assert all(len(line) <= width for line in drawn(label, found, width).splitlines())
