"""Resolves the data sets of a study against the catalog: one choice each, or one for each domain that is held out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from coretune.spec.augment import AugmentSpec
from coretune.spec.augment_presets import augment_keys, check_augment, preset_sizes
from coretune.spec.cells import DatasetChoice
from coretune.spec.checks import Checks
from coretune.spec.components import PER_PIXEL, Catalog, DatasetComponent
from coretune.spec.domains import (
    ALL,
    DOMAIN_KEYS,
    HELD_OUT,
    LEAVE_ONE_OUT,
    VALIDATION,
    DomainOptions,
    alike,
    held_out_domains,
    label_of,
    labels_of,
)
from coretune.spec.paths import absolute_path
from coretune.spec.problems import Problems
from coretune.spec.segmentation import MIOU, SEGMENTATION_KEYS, SegmentationSpec
from coretune.spec.study import APART, DataOptions, Study, check_label
from coretune.spec.wording import nearest, shown
from coretune.spec.yamlfile import Path_

OF_IMAGES: Mapping[str, str] = {
    "image_size": "images with masks are stored at their own size; input_size is the side of the squares to train on",
    "test_view": "images with masks are evaluated whole, at their own size",
    "labels_per_class": "images with masks have many classes each; take label_fraction",
    "imbalance": "images with masks have many classes each; it is for one class per image",
}
"""Keys of `data` that mean nothing for data sets with a class per pixel, and why."""
MOVING = ("crop_scale", "crop_padding", "rotation")
"""Keys of `augment` that would move pixels of an image and not those of its mask."""

SWAD = "swad finds its window by the source domains' validation loss: it goes with training_domain"

Choices = Mapping[str, tuple[DatasetChoice, ...]]
"""By the data set's label in the file; none for one that is wrong."""


class DataChecks(Checks):
    """Resolves the entries of `datasets`.

    Args:
        study: The study's keys.
        catalog: As in `Checks`.
        problems: As in `Checks`.
        folder: What relative paths in the file are relative to.
        complete: As in `Checks`.
    """

    def __init__(self, study: Study, catalog: Catalog, problems: Problems, folder: Path, *, complete: bool) -> None:
        super().__init__(catalog, problems, complete=complete)
        self.study = study
        self.folder = folder
        self.kinds: dict[str, str] = {}
        """What has a class in each entry whose data set is known, whatever else of it is wrong: image or pixel."""

    def datasets(self, label: str, raw: Mapping[str, Any]) -> tuple[DatasetChoice, ...]:
        """Returns what an entry stands for: a data set, or one for each domain that it holds out."""
        at: Path_ = ("datasets", label)
        nameless = "path" in raw and label not in self.catalog.names("dataset")
        kind = "domain_folders" if raw.get(HELD_OUT) is not None else "folder"
        component = self.component("dataset", at, raw, fallback=kind if nameless else label)
        path = self.text(at, raw, "path")
        if component is not None:
            names = [*DataOptions.model_fields, *DOMAIN_KEYS, *component.parameters.model_fields]
            self.refuse_unknown(at, raw, ["dataset", "path", APART, *names])
        own = {key: raw[key] for key in raw if key in DataOptions.model_fields}
        domains = self.checked(at, DomainOptions, {key: raw[key] for key in raw if key in DOMAIN_KEYS})
        given = _known_augment(own.get("augment", self.study.data.augment))
        said = self._said(own, held_out=domains is not None and domains.held_out_domain is not None)
        options = self.checked(at, DataOptions, {**preset_sizes(given), **said, **own})
        if not isinstance(component, DatasetComponent):
            return ()
        segmentation = None
        self.kinds[label] = component.labels
        if component.labels == "pixel":
            segmentation = self.checked(("segmentation",), SegmentationSpec, _known(self.study.segmentation))
            self._of_pixels(at, raw, own, options, given)
        if component.needs_path and raw.get("path") is None:
            self.problems.add(at, f"data set {component.name} needs a path: the folder of its images")
        ref = self.ref(at, component, {key: raw[key] for key in raw if key in component.parameters.model_fields})
        place = (*at, "augment") if "augment" in own else ("data", "augment")
        augment = self.checked(place, AugmentSpec, augment_keys(component.augment, given))
        wrong = segmentation is None and component.labels == "pixel"
        if wrong or ref is None or options is None or augment is None or domains is None:
            return ()
        where = absolute_path(self.folder, path) if path else None
        choice = DatasetChoice(label, label, ref, where, options, options.image_size or component.image_size, augment)
        choice = replace(choice, segmentation=segmentation)
        for key, message in choice.misfits(augment):
            self.problems.add((*at, *key) if key[0] in own else ("data", *key), message)
        return tuple(self._held_out(at, raw, domains, component, choice))

    def _of_pixels(
        self,
        at: Path_,
        raw: Mapping[str, Any],
        own: Mapping[str, Any],
        options: DataOptions | None,
        augment: Mapping[str, Any] | None,
    ) -> None:
        """Notes keys that mean nothing for a data set with a class per pixel."""
        if raw.get(APART):
            self.problems.add((*at, APART), f"{at[-1]}: {PER_PIXEL}")
        if raw.get(HELD_OUT) is not None:
            self.problems.add((*at, HELD_OUT), "images with masks have no domains")
        said = self.study.data.model_dump(exclude_unset=True) | dict(own)
        for key, text in OF_IMAGES.items():
            if said.get(key) is not None and getattr(options, key, None) is not None:
                self.problems.add((*at, key) if key in own else ("data", key), text)
        for key in MOVING:
            if (augment or {}).get(key) is not None:
                place = (*at, "augment", key) if "augment" in own else ("data", "augment", key)
                self.problems.add(place, "moves pixels away from their masks; segmentation.scale scales and crops both")

    def tasks(self) -> bool | None:
        """Returns whether the study is one of segmentation; what does not go with what its data sets are is noted.

        None where no data set of it is known.
        """
        study = self.study
        known = [section for section in study.sections if section in self.kinds]
        of_pixels = [section for section in known if self.kinds[section] == "pixel"]
        others = [section for section in known if section not in of_pixels]
        if of_pixels and others:
            text = f"has a class per image, and {of_pixels[0]} one per pixel: take a study for each"
            self.problems.add(("datasets", others[0]), text)
        judged = not any(problem.key.startswith("objective") for problem in self.problems.found)
        if judged and of_pixels and study.objective.metrics != (MIOU,):
            text = f"{of_pixels[0]} has a class per pixel, judged by {MIOU}: say objective: {{metric: {MIOU}}}"
            self.problems.add(("objective", "metric"), text)
        if known and not of_pixels and MIOU in study.objective.metrics:
            self.problems.add(("objective", "metric"), f"{MIOU} is for data sets with a class per pixel; there is none")
        if known and not of_pixels and study.segmentation is not None:
            self.problems.add(("segmentation",), "there is no data set with a class per pixel")
        if study.segmentation is not None:
            self.refuse_unknown(("segmentation",), study.segmentation, SEGMENTATION_KEYS)
        if of_pixels:
            self._no_average()
        return bool(of_pixels) if known else None

    def _no_average(self) -> None:
        """Notes weights of SWAD in a study of segmentation."""
        text = f"swad finds its window by the cross-entropy of validation images, and {MIOU} judges these: last or best"
        asked: dict[Path_, Any] = {("finals", "weights"): self.study.finals.weights}
        asked |= {
            ("evaluations", label, "weights"): raw.get("weights") for label, raw in self.study.evaluations.items()
        }
        for at in [at for at, weights in asked.items() if weights == "swad"]:
            self.problems.add(at, text)

    def named(self, at: Path_, label: str, datasets: Choices) -> DatasetChoice | None:
        """Returns the one data set that a label of the file means, or None with its problem noted."""
        if label not in datasets:
            self.problems.add(at, f"no data set of the study has the label {label!r}{nearest(label, datasets)}")
        elif len(datasets[label]) > 1:
            self.problems.add(
                at,
                f"{label} is {len(datasets[label])} data sets, one for each held-out domain; leave the key out to "
                "pre-train on the domains that each cell is trained on",
            )
        return datasets[label][0] if len(datasets.get(label, ())) == 1 else None

    def distinct_domains(self) -> None:
        """Notes data sets with a held-out domain whose label another one has, too."""
        owners: dict[str, str] = {}
        for section, raw in self.study.datasets.items():
            for label in labels_of(section, raw):
                first = owners.setdefault(label.lower(), section)
                if first.lower() != section.lower():  # labels that differ in case alone are told as such
                    text = f"its label {label} is one of {first}, too; give one of them another label"
                    self.problems.add(("datasets", section), text)

    def apart(self) -> None:
        """Notes what is wrong with data sets that are there for pre-training alone."""
        used = {b.pretrain.dataset for b in self.study.backbones.values() if b.pretrain is not None}
        for label, raw in self.study.datasets.items():
            value = raw.get(APART)
            if value is not None and not isinstance(value, bool):
                self.problems.add(("datasets", label, APART), f"must be true or false, got {shown(value)}")
            elif value and label not in used:
                self.problems.add(("datasets", label, APART), f"no backbone has `pretrain.dataset: {label}`")
        if self.study.datasets and not self.study.sections:
            self.problems.add(("datasets",), f"all are {APART}: there is nothing to tune on")

    def selection(self) -> None:
        """Notes what a selection rule for held-out domains does not go with."""
        rule, study = self.study.selection, self.study
        if rule == "training_domain":
            return
        if study.finals.weights == "swad":
            self.problems.add(("selection",), SWAD)
        for section in study.sections:
            if study.datasets[section].get(HELD_OUT) is None:
                text = f"{rule} chooses where a domain is held out; datasets.{section} has no {HELD_OUT}"
                self.problems.add(("selection",), text)
        self._selection_of_evaluations()
        if rule != LEAVE_ONE_OUT:
            return
        if study.search == "none":
            self.problems.add(("selection",), f"{rule} judges the trials of a search, and there is none")
        if study.finals.weights == "best":
            text = f"{rule} chooses a configuration, but no epoch; say finals.weights: last"
            self.problems.add(("selection",), text)

    def _selection_of_evaluations(self) -> None:
        """Notes further evaluations of weights that another selection rule than the study's would have to find."""
        rule = self.study.selection
        for label, raw in self.study.evaluations.items():
            at, weights = ("evaluations", label, "weights"), raw.get("weights")
            if weights == "swad":
                self.problems.add(at, f"{SWAD}, and the study says selection: {rule}")
            if weights == "best" and rule == LEAVE_ONE_OUT:
                self.problems.add(at, f"selection: {rule} chooses a configuration, but no epoch; say weights: last")

    def _said(self, own: Mapping[str, Any], *, held_out: bool) -> dict[str, Any]:
        """Returns what `data` says for a data set, less what its own keys or its held-out domain replace."""
        said = self.study.data.model_dump(exclude_unset=True)
        if "labels_per_class" in own or "label_fraction" in own:
            said = {key: value for key, value in said.items() if key not in ("labels_per_class", "label_fraction")}
        if held_out:
            said = {"validation": VALIDATION} | {key: value for key, value in said.items() if key != "test"}
        return said

    def _held_out(
        self,
        at: Path_,
        raw: Mapping[str, Any],
        options: DomainOptions,
        component: DatasetComponent,
        choice: DatasetChoice,
    ) -> Iterator[DatasetChoice]:
        """Yields the data sets of an entry; what is wrong with its held-out domains is noted."""
        if options.held_out_domain is None:
            for key in ("held_out_part", "transductive"):
                if raw.get(key) is not None:
                    self.problems.add((*at, key), f"is said of a held-out domain, and there is no {HELD_OUT}")
            yield choice
            return
        if "test" in raw:
            self.problems.add((*at, "test"), "the held-out domain is the test part; leave this key out")
        names = held_out_domains(raw)
        known = tuple(component.counts) if component.domains else ()
        for message in self._unheld(names, known, component):
            self.problems.add((*at, HELD_OUT), message)
        for name in names:
            label = label_of(choice.label, name)
            try:
                check_label(label)
            except ValueError as error:
                self.problems.add(at, str(error))
            yield replace(
                choice,
                label=label,
                held_out_domain=name,
                held_out_part=options.held_out_part,
                transductive=options.transductive,
                domains=known,
            )

    def _unheld(self, names: tuple[str, ...], known: tuple[str, ...], component: DatasetComponent) -> Iterator[str]:
        """Yields why domains cannot be held out, as far as that is known without the data."""
        if component.counts and not known:
            yield f"{component.name} has no domains"
        elif not names:
            yield (
                f"which domains {component.name} has is known once its images are there; in place of {ALL}, list those "
                "to hold out: [day, night]"
            )
        strange = [name for name in names if known and name not in known]
        for name in strange:
            yield f"{component.name} has no domain {name!r}{nearest(name, known)}"
        if not strange and (message := alike(names)):
            yield message


def _known_augment(value: Any) -> Mapping[str, Any] | None:
    """Returns an augmentation as a mapping, or None for one that is wrong: its options note that."""
    try:
        checked: Mapping[str, Any] | None = check_augment(value)
    except ValueError:
        return None
    return checked


def _known(segmentation: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns the keys of segmentation that are keys; the others are noted elsewhere, once."""
    return {key: value for key, value in (segmentation or {}).items() if key in SEGMENTATION_KEYS}
