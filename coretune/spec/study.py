"""The study file's keys. What each may be is said here once: `coretune study schema` prints it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from coretune.spec.augment import ViewSpec
from coretune.spec.augment_presets import check_augment
from coretune.spec.contrasts import ContrastOptions
from coretune.spec.domains import HELD_OUT, OF_A_DATASET, SelectionRule, labels_of
from coretune.spec.frozen import Frozen
from coretune.spec.objective import Direction, Objective
from coretune.spec.run import Epoch, Which, judging_epoch
from coretune.spec.wording import nearest, shown

LABEL = r"^[A-Za-z0-9][A-Za-z0-9_+]*(-[A-Za-z0-9_+]+)*$"
MAX_LABEL = 64
MAX_TRIALS, MAX_SEEDS = 1_000_000, 10_000
"""More than any study trains: a slip of the pen is told at once, and not by a plan that never ends."""


def check_label(label: str) -> str:
    """Returns a label that can be part of a folder's name; cells join three of them by `--`.

    Raises:
        ValueError: It cannot.
    """
    if re.fullmatch(LABEL, label) is None:
        raise ValueError(
            f"{shown(label)} is no label: letters, digits, _ and +, single hyphens between; first a letter or digit"
        )
    if len(label) > MAX_LABEL:
        raise ValueError(f"a label has at most {MAX_LABEL} characters, got {len(label)}")
    return label


def check_amount(value: Any) -> int | float:
    """Returns a number of images, or a fraction of them.

    Raises:
        ValueError: It is neither.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise ValueError(
            f"must be a number of images (a whole number) or a fraction between 0 and 1, got {shown(value)}"
        )
    if isinstance(value, float) and value >= 1:
        raise ValueError(f"a fraction lies below 1, got {value}; write {math.ceil(value):d} for a number of images")
    return value


Label = Annotated[
    str, AfterValidator(check_label), WithJsonSchema({"type": "string", "pattern": LABEL, "maxLength": MAX_LABEL})
]
Amount = Annotated[
    int | float,
    BeforeValidator(check_amount),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}]}
    ),
]


Augment = Annotated[dict[str, Any], BeforeValidator(check_augment)]


class DataOptions(Frozen):
    """How the images of every data set are divided; a data set's own keys may override each."""

    elsewhere = OF_A_DATASET

    image_size: int | None = Field(
        None, ge=4, description="Side in pixels that images are stored at; null takes the data set's own."
    )
    input_size: int | None = Field(
        None, ge=4, description="Side in pixels that nets are trained on; null: image_size, whole images."
    )
    test_view: ViewSpec | None = Field(
        None, description="What evaluations see; null: the whole image, resized to input_size."
    )
    labels_per_class: int | None = Field(None, ge=1, description="Labelled training images per class; null: all.")
    label_fraction: float | None = Field(None, gt=0, le=1, description="Labelled fraction of each class; null: all.")
    imbalance: float | None = Field(
        None,
        gt=1,
        le=1e6,
        description="Ratio of the largest to the smallest class of the labelled images, which fall off exponentially "
        "from class to class (long-tailed, as CIFAR-10-LT); null: as they are.",
    )
    limit: int | None = Field(
        None,
        ge=1,
        description="At most so many training images, as evenly over the classes as they allow and one of each at "
        "least, for pre-training, too; null: all. Limits of labels give way to it.",
    )
    held_out_limit: int | None = Field(
        None,
        ge=1,
        description="At most so many images of the validation part, and of the test part, drawn likewise; null: all.",
    )
    subset_seed: Literal["fixed", "per_seed"] = Field(
        "fixed", description="Whether each seed draws its own labelled subset (per_seed) or all share one (fixed)."
    )
    validation: Amount = Field(
        0.1, description="Validation part where the source has none: images (whole number) or fraction (< 1)."
    )
    test: Amount = Field(
        0.2, description="Test part where the source has none: images (whole number) or fraction (< 1)."
    )
    split_seed: int = Field(0, ge=0, description="Seed of the parts that are drawn.")
    corrupt: Literal["refuse", "skip"] = Field(
        "refuse",
        description="What is done about images that cannot be read or, with masks, used (a file is missing, a mask "
        "does not fit): the study is refused, or they are skipped: in no part, and counted nowhere.",
    )
    augment: Augment | None = Field(
        None,
        description="Training augmentation: keys, the name of a preset, or both (`preset` among the keys); null takes "
        "the data set's own.",
    )

    @field_validator("label_fraction")
    @classmethod
    def _one_limit(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and info.data.get("labels_per_class") is not None:
            raise ValueError("labels_per_class and label_fraction exclude each other; leave one out")
        return value

    @field_validator("test")
    @classmethod
    def _something_left(cls, value: int | float, info: ValidationInfo) -> int | float:
        validation = info.data.get("validation")
        if isinstance(value, float) and isinstance(validation, float) and value + validation >= 1:
            raise ValueError(f"validation ({validation:g}) and test ({value:g}) leave no image for training")
        return value


APART = "pretraining_only"
"""Key of a data set that no cell is tuned on."""


class PretrainOptions(Frozen):
    """Self-supervised pre-training of a backbone on training images, without labels."""

    dataset: Label | None = Field(
        None,
        description="Label of the data set whose training images it sees; null: each cell's own, a pre-training for "
        "each. Of data sets that share the images but not the split, name the one with the largest validation part.",
    )
    method: str = Field("moco_v2", description="Name of a pre-training method.")
    params: dict[str, Any] = Field({}, description="Its parameters.")
    train: dict[str, Any] = Field({}, description="Its training recipe; keys of `train`.")
    augment: Augment = Field(
        {}, description="Its augmentation; keys of `data.augment`, over the data set's own, or the name of a preset."
    )
    seed: int | None = Field(None, ge=0, description="Its seed; null derives it from the study's.")


class BackboneOptions(Frozen):
    """An architecture and where its weights come from: pre-training, a checkpoint, or chance."""

    arch: str | None = Field(None, description="Name of an architecture; null takes the label.")
    params: dict[str, Any] = Field({}, description="Its parameters.")
    pretrain: PretrainOptions | None = Field(None, description="Pre-train it first.")
    checkpoint: str | None = Field(None, description="A file of weights, of coretune or another project.")
    obtain: str = Field("", description="Where the checkpoint is to be had, in words: told when it is not there.")
    workers: int | None = Field(
        None,
        ge=1,
        description="Workers of each of its runs, at most `resources.workers`, which null takes: small models gain "
        "little from many. No part of a run's identity.",
    )

    @field_validator("checkpoint")
    @classmethod
    def _one_origin(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("pretrain") is not None:
            raise ValueError("pretrain and checkpoint exclude each other; leave one out")
        return value


class SearchOptions(Frozen):
    """The search of each cell. Every cell has the same budget; trial 0 is the default configuration."""

    sampler: Literal["tpe", "random", "grid", "gp", "cmaes", "qmc"] = Field(
        "tpe", description="Optuna's sampler, a scrambled Sobol sequence (qmc), or the whole grid."
    )
    trials: int = Field(20, ge=1, le=MAX_TRIALS, description="Configurations per cell.")
    repeats: int = Field(
        1, ge=1, le=MAX_SEEDS, description="Runs per configuration, each with a search seed of its own; averaged."
    )
    pruner: Literal["none", "successive_halving", "hyperband", "median", "wilcoxon"] = Field(
        "none", description="Optuna's pruner: it sees epochs, or with repeats > 1 finished repeats."
    )


class FinalsOptions(Frozen):
    """The final runs: each cell's choice, trained again with seeds that the search never used."""

    seeds: int = Field(
        6,
        ge=1,
        le=MAX_SEEDS,
        description="Final seeds per cell, the same in all cells, so that methods are paired.",
    )
    weights: Which = Field(
        "last",
        description="Which weights are tested: of the last epoch, of the best on the validation part, or the average "
        "of SWAD, over the steps that the validation loss finds.",
    )

    @property
    def judged_by(self) -> Epoch:
        """The epoch by whose figures on the validation part runs are judged."""
        return judging_epoch(self.weights)


class EvaluationOptions(Frozen):
    """A further evaluation of the final runs, beside the classification of the test part."""

    evaluation: str | None = Field(None, description="Name of an evaluation; null takes the label.")
    split: Literal["validation", "test", "labelled"] = Field(
        "test", description="Part that is evaluated; labelled is the labelled training images."
    )
    weights: Which | None = Field(
        None,
        description="Which weights: of the last epoch, of the best, or the average of SWAD; null: as finals.weights.",
    )
    limit: int | None = Field(None, ge=1, description="Evaluate a sample of so many images; null: all.")
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of what the evaluation draws, the sample included.")


class Resources(Frozen):
    """What runs get. Nothing here changes a result beyond rounding, so nothing here is part of a run's identity."""

    slots: int | None = Field(
        None,
        ge=1,
        description="Runs at a time; null: as many as the machine or cluster holds. More than fit on this machine "
        "share its CPUs.",
    )
    cpus: float = Field(1, gt=0, description="CPUs per worker; not more than the machine has.")
    gpus: float = Field(0, ge=0, description="GPUs per worker; fractions share one.")
    workers: int = Field(
        1,
        ge=1,
        description="Workers per run: processes, perhaps on several nodes, that train one model together, with the "
        "same batch and contrast batch.",
    )
    min_workers: int | None = Field(
        None,
        ge=1,
        description="Workers that a run goes on with at the least, from its last state, while there is no place for "
        "all of them: a node was lost. null: as many as `workers`.",
    )
    collective_timeout_s: int = Field(
        300,
        ge=1,
        description="Seconds that the workers of a run wait for one that does not answer, before they are replaced; "
        "more than the longest pause of one of them, e.g. while it compiles.",
    )
    threads: int | None = Field(None, ge=1, description="Torch threads per worker; null: as many as its CPUs.")
    micro_batch: int | None = Field(
        None,
        ge=1,
        description="Samples whose activations are in memory at once; null: the whole batch; "
        "a run that is out of memory goes on with half of it.",
    )
    channels_last: bool = Field(False, description="Memory format of images and convolutions.")
    compile: bool = Field(
        False, description="Compile the backbone (torch.compile): pays in long runs, takes up to a minute per process."
    )
    deterministic: bool = Field(True, description="Ask torch for deterministic algorithms.")

    @model_validator(mode="after")
    def _check(self) -> Resources:
        if self.least_workers > self.workers:
            raise ValueError(f"min_workers: {self.min_workers} is more than workers: {self.workers}")
        return self

    @property
    def least_workers(self) -> int:
        """Workers that a run goes on with at the least."""
        return self.workers if self.min_workers is None else self.min_workers

    def groups(self, places: int) -> int:
        """Returns how many runs have their workers at a time, where there are places for so many workers."""
        return max(places // self.workers, int(places >= self.least_workers))

    @property
    def worker_threads(self) -> int:
        """Torch threads of a worker."""
        return self.threads or max(1, int(self.cpus))


OF_THE_FILE = ("name", "description", "preset", "smoke", "plugins")
"""Keys that `smoke` cannot replace."""


class Study(Frozen):
    """What one YAML file asks for."""

    elsewhere = OF_A_DATASET

    name: Label = Field(description="Name of the study and of its results directory.")
    description: str = Field("", description="What it shows.")
    preset: Literal["smoke", "cpu", "paper"] | None = Field(
        None,
        description="Defaults for everything not said: `cpu` (minutes on a laptop), `paper` (the published recipe); "
        "`smoke` limits what is said, to see in a minute whether a study runs.",
    )
    smoke: dict[str, Any] = Field(
        {},
        description="What `preset: smoke` puts in place of the study's own keys, e.g. a small backbone: labelled "
        "sections as a whole, other sections key by key.",
    )
    seed: int = Field(0, ge=0, description="All seeds follow from it.")
    plugins: tuple[str, ...] = Field((), description="Python files with COMPONENTS, relative to the study file.")
    datasets: dict[Label, dict[str, Any]] = Field(
        min_length=1,
        description="Label → `dataset` (its name; null takes the label), `path`, its parameters, keys of data, "
        "`held_out_domain`; `pretraining_only: true` if backbones are pre-trained on it and nothing is tuned on it.",
    )
    backbones: dict[Label, BackboneOptions] = Field(min_length=1, description="Label → architecture and weights.")
    methods: dict[Label, dict[str, Any]] = Field(
        min_length=1,
        description="Label → `method` (its name; null takes the label), its parameters, `train`. A parameter may be a "
        "search space: {uniform|log_uniform|int: [low, high]} or {choice: [...]}, with default: value.",
    )
    data: DataOptions = Field(DataOptions(), description="How the images of every data set are divided.")
    train: dict[str, Any] = Field({}, description="The training recipe of all methods; values may be search spaces.")
    adversary: dict[str, Any] | None = Field(
        None,
        description="Adversarial training of all methods; a method's own `adversary` changes some keys, or is `none`. "
        "null: none.",
    )
    segmentation: dict[str, Any] | None = Field(
        None,
        description="Head, crops and sampled pixels of data sets with a class per pixel, the same for all methods. "
        "null: the defaults.",
    )
    search: Annotated[
        Annotated[SearchOptions, Tag("mapping")] | Annotated[Literal["none"], Tag("word")],
        Discriminator(lambda value: "word" if isinstance(value, str) else "mapping"),
    ] = Field(SearchOptions(), description="The search of each cell; `none` compares the defaults.")
    finals: FinalsOptions = Field(FinalsOptions(), description="The final runs of each cell.")
    evaluations: dict[Label, dict[str, Any]] = Field(
        {},
        description="Further evaluations of the final runs: label → `evaluation` (its name; null takes the label), "
        "which images and weights, its parameters. They are columns `<label>.<metric>` of runs.csv.",
    )
    objective: Objective = Field(Objective(), description="What the search optimises.")
    selection: SelectionRule = Field(
        "training_domain",
        description="Selection rule where a domain is held out. training_domain: a part of each source domain; "
        "leave_one_source_domain_out: a trial is several runs, each without one of the source domains and validated on "
        "it; oracle: the held-out domain itself, which marks every figure.",
    )
    baseline: str | None = Field(
        None, description="Label of the method that others are compared with; null: the first."
    )
    contrasts: ContrastOptions | None = Field(
        None, description="Comparisons of methods that are planned before the study runs, and tested with correction."
    )
    resources: Resources = Field(Resources(), description="What runs get: slots, CPUs, GPUs, threads.")
    keep: Literal["finals", "all", "none"] = Field("finals", description="Whose weights stay when the study is done.")

    @field_validator("selection", mode="before")
    @classmethod
    def _weights_are_said_elsewhere(cls, value: Any) -> Any:
        if value in get_args(Which):
            rules = ", ".join(get_args(SelectionRule))
            raise ValueError(
                f"must be one of {rules}, got {shown(value)}; which weights are tested is said by "
                f"finals.weights: {value}"
            )
        return value

    @field_validator("smoke")
    @classmethod
    def _smoke_has_keys_of_a_study(cls, value: dict[str, Any]) -> dict[str, Any]:
        known = [key for key in cls.model_fields if key not in OF_THE_FILE]
        for key in value:
            if key not in known:
                raise ValueError(f"no key of a study that a preset can replace: {shown(key)}{nearest(key, known)}")
        return value

    @field_validator("objective")
    @classmethod
    def _can_be_searched(cls, value: Objective, info: ValidationInfo) -> Objective:
        search = info.data.get("search")
        if len(value.metrics) > 1 and isinstance(search, SearchOptions):
            if search.sampler == "cmaes":
                raise ValueError(
                    "search.sampler: cmaes knows one metric; for a front take tpe, gp, qmc, random or grid"
                )
            if search.pruner != "none":
                raise ValueError(f"search.pruner: {search.pruner} compares runs by one metric; for a front take none")
        return value

    @field_validator("contrasts")
    @classmethod
    def _one_objective(cls, value: ContrastOptions | None, info: ValidationInfo) -> ContrastOptions | None:
        objective = info.data.get("objective")
        if value is not None and objective is not None and len(objective.metrics) > 1:
            raise ValueError("they judge one metric and one configuration per cell; a front has two and three")
        return value

    @field_validator("baseline")
    @classmethod
    def _baseline_exists(cls, value: str | None, info: ValidationInfo) -> str | None:
        labels = info.data.get("methods")
        if value is not None and labels is not None and value not in labels:
            raise ValueError(f"no method has the label {value!r}{nearest(value, labels)}")
        return value

    @property
    def direction(self) -> Direction:
        """Whether the objective, of two the first one, is maximised or minimised."""
        return self.objective.directions[0]

    @property
    def sections(self) -> tuple[str, ...]:
        """Labels in the file of the data sets that cells are tuned on: all but those that are `pretraining_only`."""
        return tuple(label for label, options in self.datasets.items() if options.get(APART) is not True)

    @property
    def tuned(self) -> tuple[str, ...]:
        """Labels of the data sets that cells are tuned on: one for each held-out domain where there are some."""
        return tuple(label for section in self.sections for label in labels_of(section, self.datasets[section]))

    @property
    def held_out_sections(self) -> Mapping[str, tuple[str, ...]]:
        """Labels in the file of the data sets that hold domains out, each with the labels of `tuned` that it means."""
        known = {section: self.datasets[section] for section in self.sections}
        return {section: labels_of(section, raw) for section, raw in known.items() if raw.get(HELD_OUT) is not None}

    @property
    def baseline_label(self) -> str:
        """The method that others are compared with."""
        return self.baseline or next(iter(self.methods))
