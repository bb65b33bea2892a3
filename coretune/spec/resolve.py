"""Resolves a study's names against the catalog: its cells, and the evaluations of their final runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from coretune.spec.adversary import ADVERSARY_KEYS, AdversarySpec
from coretune.spec.augment import AugmentSpec
from coretune.spec.augment_presets import augment_keys
from coretune.spec.cells import BackboneChoice, Cell, DatasetChoice, MethodChoice, PretrainChoice
from coretune.spec.components import Catalog, Component, EvaluationComponent
from coretune.spec.data_checks import Choices, DataChecks
from coretune.spec.domains import HELD_OUT
from coretune.spec.paths import absolute_path
from coretune.spec.problems import Problems
from coretune.spec.run import EvalSpec, PooledTrainSpec, TrainSpec
from coretune.spec.seeds import derive_seed
from coretune.spec.segmentation import SegmentationSpec
from coretune.spec.space import Space
from coretune.spec.study import BackboneOptions, EvaluationOptions, PretrainOptions, Study
from coretune.spec.validation_attack import ROBUST, ValidationAttack
from coretune.spec.wording import near, nearest, shown
from coretune.spec.yamlfile import Path_

RECIPE_KEYS = tuple(name for name in TrainSpec.model_fields if name != "version")
OF_ANY_METHOD = ("method", "train", "adversary")
NO_ADVERSARY = "none"
TAKEN = ("test", "validation", "metrics", "data", "backbone", "method", "train", "adversary")
"""What other columns of runs.csv begin with, `test.top1`: no labels of evaluations, which begin columns too."""


class Named(NamedTuple):
    """What a study's names stand for.

    Attributes:
        cells: Data set × backbone × method, a data set for each held-out domain.
        evaluations: The further evaluations of the final runs, by label.
        attack: What robust accuracy is measured under, if the objective asks for it.
    """

    cells: list[Cell]
    evaluations: dict[str, EvalSpec]
    attack: ValidationAttack | None


def resolve_names(study: Study, catalog: Catalog, problems: Problems, folder: Path, *, complete: bool = True) -> Named:
    """Returns the cells of a study and its further evaluations; what is wrong is added to `problems`.

    Args:
        study: The study's keys.
        catalog: What its names mean.
        problems: Collects what is wrong.
        folder: What relative paths in the file are relative to.
        complete: Whether the catalog is whole; where a plug-in could not be loaded, an unknown name may be its, and the
            problem says so.
    """
    resolver = _Resolver(study, catalog, problems, folder, complete)
    for section in ("datasets", "backbones", "methods", "evaluations"):
        resolver.distinct(section, getattr(study, section))
    resolver.distinct_domains()
    datasets = {label: resolver.datasets(label, raw) for label, raw in study.datasets.items()}
    resolver.of_pixels = resolver.tasks()
    backbones = [resolver.backbone(label, options, datasets) for label, options in study.backbones.items()]
    methods = [resolver.method(label, raw) for label, raw in study.methods.items()]
    evaluations = {label: resolver.evaluation(label, raw) for label, raw in study.evaluations.items()}
    resolver.apart()
    resolver.selection()
    resolver.contrasts()
    cells = [
        Cell(dataset, method, backbone)
        for dataset in (choice for label in study.sections for choice in datasets[label])
        for backbone in backbones
        for method in methods
        if backbone is not None and method is not None
    ]
    found = {label: spec for label, spec in evaluations.items() if spec is not None}
    return Named(cells, found, resolver.attack())


class _Resolver(DataChecks):
    def __init__(self, study: Study, catalog: Catalog, problems: Problems, folder: Path, complete: bool) -> None:
        super().__init__(study, catalog, problems, folder, complete=complete)
        self.of_pixels: bool | None = None
        self.train, self.train_spaces = self.split(("train",), study.train, TrainSpec, RECIPE_KEYS)

    @property
    def pools(self) -> bool:
        """Whether the study's head normalises a single value of each image."""
        head = (self.study.segmentation or {}).get("head", SegmentationSpec.model_fields["head"].default)
        return bool(self.of_pixels) and head == "deeplabv3"

    def distinct(self, section: str, labels: Iterable[str]) -> None:
        """Notes labels that are one name to a file system or a table that knows no case."""
        seen: dict[str, str] = {}
        for label in labels:
            if (first := seen.setdefault(label.lower(), label)) != label:
                self.problems.add((section, label), f"differs from {first} only in case; give it another label")

    def backbone(self, label: str, options: BackboneOptions, datasets: Choices) -> BackboneChoice | None:
        at: Path_ = ("backbones", label)
        component = self.component("backbone", at, {"arch": options.arch} if options.arch else {}, key="arch")
        pretrain = self.pretrain((*at, "pretrain"), label, options.pretrain, datasets) if options.pretrain else None
        arch = None if component is None else self.ref((*at, "params"), component, options.params)
        if arch is None or (options.pretrain is not None and pretrain is None):
            return None
        checkpoint = absolute_path(self.folder, options.checkpoint) if options.checkpoint else None
        most = self.study.resources.workers
        if options.workers is not None and options.workers > most:
            self.problems.add((*at, "workers"), f"{options.workers} is more than resources.workers: {most}")
        return BackboneChoice(label, arch, pretrain, checkpoint, options.obtain, options.workers)

    def pretrain(self, at: Path_, label: str, options: PretrainOptions, datasets: Choices) -> PretrainChoice | None:
        component = self.component("pretraining", at, {"method": options.method}, key="method")
        self.refuse_unknown((*at, "train"), options.train, RECIPE_KEYS)
        declared = component.train if component is not None else {}
        own = {key: value for key, value in options.train.items() if key in RECIPE_KEYS}
        train = self.checked((*at, "train"), TrainSpec, {**declared, **own})
        augment = self.checked((*at, "augment"), AugmentSpec, augment_keys({}, options.augment))
        ref = None if component is None else self.ref((*at, "params"), component, options.params)
        named = None
        if options.dataset is not None and (named := self.named((*at, "dataset"), options.dataset, datasets)) is None:
            return None
        if ref is None or train is None or augment is None:
            return None
        seed = derive_seed(self.study.seed, "pretrain", label) if options.seed is None else options.seed
        choice = PretrainChoice(ref, train, options.augment, seed, named)
        seen = [datasets[label][:1] for label in self.study.sections] if named is None else [(named,)]
        if any(choice.segmentation is not None for choices in seen for choice in choices):
            text = "pre-training sees images that have no masks: name a data set of them, with `pretraining_only: true`"
            self.problems.add((*at, "dataset"), text)
            return None
        for dataset in (first for choices in seen for first in choices):
            self.augmented((*at, "augment"), choice, dataset)
        return choice

    def augmented(self, at: Path_, pretrain: PretrainChoice, dataset: DatasetChoice) -> None:
        """Notes what of a pre-training's augmentation does not go with the images that it sees."""
        try:
            augment = pretrain.augmented(dataset.augment)
        except ValidationError as error:
            self.problems.add_errors(at, error, AugmentSpec, suffix=f" (with that of {dataset.section})")
            return
        for key, message in dataset.misfits(augment):
            if key[-1] in augment_keys({}, pretrain.augment):
                self.problems.add((*at, key[-1]), f"{message} (of {dataset.section})")

    def method(self, label: str, raw: Mapping[str, Any]) -> MethodChoice | None:
        at: Path_ = ("methods", label)
        component = self.component("method", at, raw, fallback=label)
        own_train = {} if raw.get("train") is None else raw["train"]
        if not isinstance(own_train, Mapping):
            self.problems.add((*at, "train"), f"must be a mapping of the recipe's keys, got {shown(own_train)}")
            own_train = {}
        method_train, method_spaces = self.split((*at, "train"), own_train, TrainSpec, RECIPE_KEYS)
        if component is None:
            return None
        if self.of_pixels and not component.dense:
            able = [name for name in self.catalog.names("method") if self.catalog.get("method", name).dense]
            text = f"{component.name} has no form for data sets with a class per pixel; these have: {', '.join(able)}"
            self.problems.add(at, text)
        parameters = component.dense_parameters if self.of_pixels else None
        parameters = parameters or component.parameters
        names = tuple(parameters.model_fields)
        own = {key: value for key, value in raw.items() if key not in OF_ANY_METHOD}
        for key in (key for key in own if key not in names):
            meant = near(key, (*names, *OF_ANY_METHOD))
            said = f"did you mean {meant}?" if meant else f"{component.name} has {_parameters(names)}"
            self.problems.add((*at, key), f"unknown key; {said}")
        known = {key: value for key, value in own.items() if key in names}
        fixed, spaces = self.split(at, known, parameters, names)
        declared = {key: space for key, space in component.space.items() if key not in own}
        common = {
            key: component.train_space.get(key, space)
            for key, space in self.train_spaces.items()
            if key not in own_train and (key in component.train_space or key not in component.train)
        }
        merged = {**self.train, **component.train, **method_train}
        searched = _under("method", declared | spaces) | _under("train", common | method_spaces)
        defaults = _defaults(component, searched, merged)
        place: Path_ = (*at, "train") if own_train else ("train",)
        self.combinations(at, parameters, fixed, declared | spaces, _strip("method", defaults))
        self.combinations(
            place,
            PooledTrainSpec if self.pools else TrainSpec,
            merged,
            common | method_spaces,
            _strip("train", defaults),
        )
        adversary = self.adversary(at, raw)
        return MethodChoice(label, component.name, fixed, merged, searched, defaults, adversary)

    def adversary(self, at: Path_, raw: Mapping[str, Any]) -> AdversarySpec | None:
        """Returns the adversary of a method: the study's, changed by its own."""
        own, common = raw.get("adversary"), self.study.adversary
        if own == NO_ADVERSARY or (own is None and common is None):
            return None
        place: Path_ = ("adversary",) if own is None else (*at, "adversary")
        if self.of_pixels:
            self.problems.add(place, "there is no adversarial training of segmentation")
            return None
        if own is not None and not isinstance(own, Mapping):
            self.problems.add(place, f"must be a mapping of its keys, or {NO_ADVERSARY}; got {shown(own)}")
            return None
        self.refuse_unknown(place, own or common or {}, ADVERSARY_KEYS)
        merged = {key: value for key, value in {**(common or {}), **(own or {})}.items() if key in ADVERSARY_KEYS}
        return self.checked(place, AdversarySpec, merged)

    def attack(self) -> ValidationAttack | None:
        """Returns what robust accuracy is measured under, for all methods; None if it is no objective."""
        objective = self.study.objective
        if ROBUST not in objective.metrics or objective.attack is not None:
            return objective.attack
        if self.study.adversary is None:
            message = (
                f"{ROBUST} is measured under one attack for all methods; say it, with a size that leaves some images "
                "and not all: attack: {eps: 2/255}"
            )
            self.problems.add(("objective", "attack"), message)
            return None
        common = self.adversary((), {})
        return None if common is None else common.validation_attack

    def evaluation(self, label: str, raw: Mapping[str, Any]) -> EvalSpec | None:
        at: Path_ = ("evaluations", label)
        if label.lower() in TAKEN:
            self.problems.add(at, f"runs.csv has other columns that begin with {label}; give it another label")
        component = self.component("evaluation", at, raw, fallback=label)
        common = EvaluationOptions.model_fields
        own = {key: raw[key] for key in raw if key in common and key != "evaluation"}
        options = self.checked(at, EvaluationOptions, own)
        if component is None:
            return None
        if isinstance(component, EvaluationComponent) and component.surrogate:
            self.problems.add(at, f"{component.name} needs another trained model: `coretune robust eval` makes it")
            return None
        judged = component.labels if isinstance(component, EvaluationComponent) else "image"
        if self.of_pixels is not None and judged != ("pixel" if self.of_pixels else "image"):
            text = f"{component.name} judges a class per {judged}, and the study's data sets have one per "
            self.problems.add(at, text + ("pixel" if self.of_pixels else "image"))
            return None
        names = [name for name in component.parameters.model_fields if name not in common]
        self.refuse_unknown(at, raw, [*common, *names])
        ref = self.ref(at, component, {key: raw[key] for key in raw if key in names})
        if ref is None or options is None:
            return None
        said = options.model_dump(exclude={"evaluation", "weights"})
        return EvalSpec(evaluation=ref, weights=options.weights or self.study.finals.weights, **said)

    def contrasts(self) -> None:
        """Notes pairs of methods that are no comparison, or one that stands there already."""
        options = self.study.contrasts
        if options is not None and options.domains == "average" and not self.study.held_out_sections:
            text = f"an average is over held-out domains; no data set has {HELD_OUT}"
            self.problems.add(("contrasts", "domains"), text)
        seen: dict[frozenset[str], int] = {}
        for index, pair in enumerate(options.pairs if options is not None else ()):
            at: Path_ = ("contrasts", "pairs", index)
            for place, label in enumerate(pair):
                if label not in self.study.methods:
                    self.problems.add(
                        (*at, place), f"no method has the label {label!r}{nearest(label, self.study.methods)}"
                    )
            if pair[0] == pair[1]:
                self.problems.add(at, f"compares {pair[0]} with itself")
            elif (first := seen.setdefault(frozenset(pair), index)) != index:
                self.problems.add(at, f"{shown(pair)} is the same comparison as pairs.{first}; leave one out")


def _parameters(names: Sequence[str]) -> str:
    return f"the parameters {', '.join(sorted(names))}" if names else "no parameters"


def _under(prefix: str, spaces: Mapping[str, Space]) -> dict[str, Space]:
    return {f"{prefix}.{key}": space for key, space in spaces.items()}


def _strip(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {path.partition(".")[2]: value for path, value in values.items() if path.startswith(prefix + ".")}


def _defaults(component: Component, searched: Mapping[str, Space], train: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values of trial 0: of the space, else of the recipe or the parameter, else the space's first."""
    found: dict[str, Any] = {}
    for path, space in searched.items():
        room, _, name = path.partition(".")
        model: type[BaseModel] = component.parameters if room == "method" else TrainSpec
        own = train.get(name) if room == "train" else None
        value = next(
            (item for item in (space.default, own, model.model_fields[name].default) if item is not None), None
        )
        found[path] = value if value is not None and space.contains(value) else space.edges()[0]
    return found
