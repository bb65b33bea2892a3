"""Cells: data set × method × backbone (× held-out domain), each one search problem, resolved from a study."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from coretune.spec.adversary import AdversarySpec
from coretune.spec.augment import AugmentSpec, ViewSpec, misfits, sides
from coretune.spec.augment_presets import augment_keys
from coretune.spec.components import Catalog, Ref
from coretune.spec.domains import HeldOutPart
from coretune.spec.run import BackboneSpec, DataSpec, RunSpec, TrainSpec
from coretune.spec.seeds import derive_seed
from coretune.spec.segmentation import SegmentationSpec
from coretune.spec.space import Space, Value
from coretune.spec.study import DataOptions
from coretune.spec.validation_attack import ValidationAttack


@dataclass(frozen=True)
class DatasetChoice:
    """A data set of a study, with everything about it decided but the fingerprint.

    Attributes:
        label: What it is called: as in the file, and with the held-out domain behind it where there is one.
        section: Its label in the file.
        ref: Which one, with its parameters.
        path: Where its images are; None: where its name says.
        options: How they are divided.
        image_size: Side in pixels that they are stored at.
        augment: Training augmentation.
        held_out_domain: The domain that is the test part, or None.
        held_out_part: What of it is tested.
        transductive: Whether backbones may have seen it.
        domains: All domains, where a declaration has their names.
        segmentation: How it is trained on, where it has a class per pixel; else None.
    """

    label: str
    section: str
    ref: Ref
    path: str | None
    options: DataOptions
    image_size: int
    augment: AugmentSpec
    held_out_domain: str | None = None
    held_out_part: HeldOutPart = "whole"
    transductive: bool = False
    domains: tuple[str, ...] = ()
    segmentation: SegmentationSpec | None = None
    _made: dict[tuple[str, int, bool, str | None], DataSpec] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )

    def spec(
        self, fingerprint: str, *, subset_seed: int = 0, labelled: bool = True, validation_domain: str | None = None
    ) -> DataSpec:
        """Returns the data's description, each made once: thousands of runs of a study have the same one.

        Args:
            fingerprint: SHA-256 of the source.
            subset_seed: Seed of the labelled subset; without effect where all images are labelled.
            labelled: Whether labels are limited as the study says; pre-training sees all training images.
            validation_domain: As in `DataSpec`.
        """
        options = self.options
        limits = (options.labels_per_class, options.label_fraction, options.imbalance)
        limited = labelled and any(limit is not None for limit in limits)
        key = (fingerprint, subset_seed if limited else 0, limited, validation_domain)
        if key in self._made:
            return self._made[key]
        made = self._made[key] = DataSpec(
            dataset=self.ref,
            fingerprint=fingerprint,
            image_size=self.image_size,
            **self._sizes(),
            validation=options.validation,
            test=options.test if self.held_out_domain is None else 0,
            split_seed=options.split_seed,
            labels_per_class=options.labels_per_class if limited else None,
            label_fraction=options.label_fraction if limited else None,
            imbalance=options.imbalance if limited else None,
            subset_seed=subset_seed if limited else 0,
            limit=options.limit,
            held_out_limit=options.held_out_limit,
            corrupt=options.corrupt,
            held_out_domain=self.held_out_domain,
            held_out_part=self.held_out_part,
            validation_domain=validation_domain,
            augment=self.augment,
        )
        return made

    def misfits(self, augment: AugmentSpec) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yields what of an augmentation and of the test view does not fit the images, as `augment.misfits` does."""
        return misfits(self.image_size, self.options.input_size, self.options.test_view, augment)

    def _sizes(self) -> dict[str, Any]:
        """Returns `input_size` and `test_view`, in the one way that each is written."""
        options = self.options
        side = options.input_size or self.image_size
        resize, crop = sides(options.test_view, side)
        view = ViewSpec(resize=None if resize == crop else resize, crop=None if crop == side else crop)
        return {
            "input_size": None if side == self.image_size else side,
            "test_view": None if view == ViewSpec() else view,
        }


@dataclass(frozen=True)
class PretrainChoice:
    """A pre-training that a backbone needs."""

    ref: Ref
    train: TrainSpec
    augment: Mapping[str, Any]
    seed: int
    dataset: DatasetChoice | None = None
    """Whose training images it sees; None: those of the data set that is tuned on."""

    def augmented(self, own: AugmentSpec) -> AugmentSpec:
        """Returns its augmentation of a data set that has its own.

        Raises:
            pydantic.ValidationError: The two do not go together.
        """
        return AugmentSpec.model_validate(augment_keys(own.model_dump(), self.augment))


@dataclass(frozen=True)
class BackboneChoice:
    """A backbone of a study. At most one of `pretrain` and `checkpoint` is given."""

    label: str
    arch: Ref
    pretrain: PretrainChoice | None = None
    checkpoint: str | None = None
    obtain: str = ""
    workers: int | None = None

    def pretraining(self, dataset: DatasetChoice, fingerprint: str) -> RunSpec | None:
        """Returns the run that pre-trains this backbone, or None if there is none.

        Args:
            dataset: What it is pre-trained on, `Cell.pretraining_data`.
            fingerprint: SHA-256 of that.
        """
        if self.pretrain is None:
            return None
        data = dataset.spec(fingerprint, labelled=False)
        return RunSpec(
            task="pretraining",
            data=data.replace(augment=self.pretrain.augmented(data.augment)),
            backbone=BackboneSpec(arch=self.arch),
            method=self.pretrain.ref,
            train=self.pretrain.train,
            seed=self.pretrain.seed,
        )


@dataclass(frozen=True)
class MethodChoice:
    """A method of a study: what is fixed, and what the search may change (by path: `method.eta`, `train.lr`)."""

    label: str
    name: str
    params: Mapping[str, Any]
    train: Mapping[str, Any]
    space: Mapping[str, Space]
    defaults: Mapping[str, Value]
    adversary: AdversarySpec | None = None


@dataclass(frozen=True)
class Cell:
    """One search problem."""

    dataset: DatasetChoice
    method: MethodChoice
    backbone: BackboneChoice

    @property
    def pretraining_data(self) -> DatasetChoice:
        """The data set that the backbone is pre-trained on, if it is."""
        named = self.backbone.pretrain.dataset if self.backbone.pretrain is not None else None
        return named or self.dataset

    def labels(self, kind: str) -> tuple[str, ...]:
        """Returns by what labels `--only KIND=LABEL` means this cell: a data set's is that of its held-out domains too.

        Args:
            kind: dataset, method or backbone.
        """
        label: str = getattr(self, kind).label
        return (label,) if kind != "dataset" else tuple(dict.fromkeys((label, self.dataset.section)))

    @property
    def key(self) -> str:
        """The cell's folder name."""
        return f"{self.dataset.label}--{self.method.label}--{self.backbone.label}"

    @property
    def setting(self) -> str:
        """What methods are compared on: the data set and the backbone."""
        return f"{self.dataset.label}--{self.backbone.label}"

    def settings(self, params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Returns the parameters of the method, and the recipe's keys, of one configuration, as in `spec`."""
        values = {**self.method.defaults, **params}
        return {**self.method.params, **_below("method", values)}, {**self.method.train, **_below("train", values)}

    def spec(
        self,
        catalog: Catalog,
        params: Mapping[str, Any],
        *,
        fingerprint: str,
        weights: str,
        seed: int,
        subset_seed: int,
        attack: ValidationAttack | None = None,
        validation_domain: str | None = None,
    ) -> RunSpec:
        """Returns the run of one configuration.

        Args:
            catalog: Where the method's parameters are declared.
            params: Values by path, for some or all of `method.space`; the rest takes its default.
            fingerprint: SHA-256 of the data's source.
            weights: As in `BackboneSpec.weights`.
            seed: Seed of the training.
            subset_seed: Seed of the labelled subset.
            attack: What robust accuracy is measured under; None: the adversary's own attack, if there is one.
            validation_domain: As in `DataSpec`.

        Raises:
            pydantic.ValidationError: A value is out of range.
        """
        adversary = self.method.adversary
        method, train = self.settings(params)
        segmentation = self.dataset.segmentation
        if segmentation is not None and not catalog.get("method", self.method.name).samples:
            segmentation = segmentation.without_sampling()  # what it does not read makes no other run
        return RunSpec(
            task="classification" if segmentation is None else "segmentation",
            segmentation=segmentation,
            data=self.dataset.spec(fingerprint, subset_seed=subset_seed, validation_domain=validation_domain),
            backbone=BackboneSpec(arch=self.backbone.arch, weights=weights),
            method=catalog.ref("method", self.method.name, method),
            train=TrainSpec.model_validate(train),
            seed=seed,
            adversary=adversary,
            # One that the adversary makes anyway makes no other run.
            validation_attack=None if adversary is not None and adversary.validation_attack == attack else attack,
        )


def search_seed(study_seed: int, setting: str, repeat: int) -> int:
    """Returns the seed of a trial's `repeat`-th run, disjoint from the final seeds.

    It is the same for all methods of a setting (`Cell.setting`), so that their searches see the same labelled images:
    a lucky draw would otherwise choose better hyper-parameters for one of them.
    """
    return derive_seed(study_seed, "search", setting, repeat)


def final_seed(study_seed: int, index: int) -> int:
    """Returns the `index`-th final seed: the same for all cells, so that methods are paired."""
    return derive_seed(study_seed, "final", index)


def _below(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {path.partition(".")[2]: value for path, value in values.items() if path.startswith(prefix + ".")}
