"""RunSpec and EvalSpec: what a training and an evaluation are, and the ids that follow from it.

`run_id` is the hash of the canonical JSON, which leaves out every field that equals its default: a field added
later changes no old id. Whatever can change the result beyond rounding is a field; device, workers, slots,
micro-batch, memory format, paths and names are not.
"""

from __future__ import annotations

from functools import cached_property
from typing import Literal, Self

from pydantic import Field, model_validator

from coretune.spec.adversary import AdversarySpec
from coretune.spec.augment import AugmentSpec, Sides, ViewSpec, misfits, sides
from coretune.spec.components import Ref
from coretune.spec.domains import HeldOutPart
from coretune.spec.frozen import Frozen, canonical_json, digest
from coretune.spec.segmentation import SegmentationSpec
from coretune.spec.validation_attack import ROBUST, ValidationAttack

Which = Literal["last", "best", "swad"]
"""Whose weights are evaluated: those of the last epoch, of the best on the validation part, or the average of SWAD."""

Epoch = Literal["last", "best"]

FINGERPRINT = r"^[0-9a-f]{64}$"


def judging_epoch(weights: str) -> Epoch:
    """Returns the epoch by whose figures on the validation part a run is judged whose weights of a kind are tested.

    It is the best one where that is tested, else the last: an average of weights is none of the epochs that the
    validation part has figures of.
    """
    return "best" if weights == "best" else "last"


class DataSpec(Frozen):
    """Which images, at which size, and how they are divided."""

    dataset: Ref
    fingerprint: str = Field(pattern=FINGERPRINT, description="SHA-256 of the source's names and contents.")
    image_size: int = Field(ge=4, description="Side in pixels of the images as they are stored.")
    input_size: int | None = Field(None, ge=4, description="Side in pixels of what is trained on; null: image_size.")
    test_view: ViewSpec | None = Field(
        None, description="What an evaluation sees; null: the whole image, resized to input_size."
    )
    validation: int | float = Field(description="Images (int) or fraction (float) of the validation part, if drawn.")
    test: int | float = Field(description="Images (int) or fraction (float) of the test part, if drawn.")
    split_seed: int = Field(0, description="Seed of the drawn validation and test parts.")
    labels_per_class: int | None = Field(None, ge=1, description="Labelled training images per class; null: all.")
    label_fraction: float | None = Field(None, gt=0, le=1, description="Labelled fraction per class; null: all.")
    imbalance: float | None = Field(
        None,
        gt=1,
        le=1e6,
        description="Largest to smallest class of the labelled images, long-tailed; null: as they are.",
    )
    subset_seed: int = Field(0, description="Seed of the labelled subset.")
    limit: int | None = Field(
        None, ge=1, description="At most so many training images, of each class alike; null: all."
    )
    held_out_limit: int | None = Field(
        None, ge=1, description="At most so many images of the validation and of the test part; null: all."
    )
    corrupt: Literal["refuse", "skip"] = Field(
        "refuse", description="Images that cannot be read: refuse the data, or skip them in all parts."
    )
    held_out_domain: str | None = Field(
        None, description="The domain that is the test part, while the others are trained and validated on; null: none."
    )
    held_out_part: HeldOutPart = Field("whole", description="What of it is tested.")
    validation_domain: str | None = Field(
        None,
        description="The domain that validates, and is not trained on; null: a part of each source domain.",
    )
    augment: AugmentSpec = AugmentSpec()

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        for path, message in misfits(self.image_size, self.input_size, self.test_view, self.augment):
            raise ValueError(f"{'.'.join(path)} {message}")
        return self

    @property
    def input_side(self) -> int:
        """Side in pixels of what is trained on."""
        return self.input_size or self.image_size

    @property
    def test_sides(self) -> Sides:
        """What an evaluation sees of an image."""
        return sides(self.test_view, self.input_side)


class BackboneSpec(Frozen):
    """An architecture and where its weights come from."""

    arch: Ref
    weights: str = Field(
        "random",
        pattern=r"^(random|run:[0-9a-f]{16}|sha256:[0-9a-f]{64})$",
        description="random | run:<id of a pre-training> | sha256:<hash of a foreign checkpoint>",
    )


class TrainSpec(Frozen):
    """The one recipe."""

    epochs: int = Field(100, ge=1, description="Passes over the labelled training images.")
    batch: int = Field(256, ge=1, description="Samples per optimiser step.")
    contrast_batch: int = Field(64, ge=1, description="Samples among which pairs are mined and contrasted.")
    bn_group: int | None = Field(
        None, ge=2, description="Samples that share batch-norm statistics; null: one contrast batch."
    )
    domain_balanced: bool = Field(
        False,
        description="Whether each batch has as many samples of every domain as of any other: an epoch takes small "
        "domains more than once, and leaves some images of large ones out. For data with domains.",
    )
    optimizer: Literal["sgd", "adamw"] = Field("sgd", description="Optimiser.")
    lr: float = Field(0.01, gt=0, description="Peak learning rate of the backbone.")
    head_lr: float = Field(1.0, gt=0, description="Learning rate of new layers, as a multiple of lr.")
    momentum: float = Field(0.9, ge=0, lt=1, description="SGD momentum; AdamW's first beta.")
    nesterov: bool = Field(True, description="Nesterov momentum (SGD).")
    weight_decay: float = Field(1e-4, ge=0, description="Weight decay.")
    decay_norm_and_bias: bool = Field(True, description="Whether norm layers and biases decay too.")
    schedule: Literal["cosine", "cosine_by_epoch", "polynomial", "constant"] = Field(
        "cosine",
        description="Learning rate after the warm-up. cosine falls with every step, cosine_by_epoch after each epoch; "
        "polynomial falls with every step as (1 - t/T)^0.9, as is usual in segmentation.",
    )
    warmup_epochs: float = Field(0.0, ge=0, description="Length of the linear warm-up, which rises with every step.")
    clip_norm: float | None = Field(None, gt=0, description="Largest gradient norm; null: no clipping.")
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        "fp32", description="Arithmetic of the forward pass. Half precision is slow on CPUs without AVX-512 or AMX."
    )
    evaluate_every: int = Field(1, ge=1, description="Epochs between evaluations on the validation part.")
    version: int = Field(1, description="Version of the recipe's mathematics.")

    @model_validator(mode="after")
    def _batches_fit(self) -> Self:
        if self.batch % self.contrast_batch and self.contrast_batch < self.batch:
            raise ValueError(
                f"batch must be a multiple of contrast_batch, got {self.batch} and {self.contrast_batch}; "
                f"{self.batch // self.contrast_batch * self.contrast_batch} would do"
            )
        if self.warmup_epochs > self.epochs:
            raise ValueError(f"warmup_epochs ({self.warmup_epochs:g}) is longer than epochs ({self.epochs})")
        return self


class PooledTrainSpec(TrainSpec):
    """The recipe where a head normalises a single value of each image, as DeepLabv3 does in its pooled branch."""

    @model_validator(mode="after")
    def _groups_have_several(self) -> Self:
        group = self.contrast_batch if self.bn_group is None else self.bn_group
        if min(self.batch, group) < 2:
            key, few = ("batch", self.batch) if self.batch < 2 else ("contrast_batch", group)
            raise ValueError(
                "deeplabv3 normalises a single value of each image, and so needs two images at least that share "
                f"statistics; {key} is {few}: raise it, or take the head fcn or lraspp"
            )
        return self


class RunSpec(Frozen):
    """The full description of one training."""

    task: Literal["classification", "pretraining", "segmentation"] = "classification"
    data: DataSpec
    backbone: BackboneSpec
    method: Ref
    train: TrainSpec
    seed: int = Field(ge=0)
    best_by: Literal["top1", "mean_per_class", "cross_entropy", "robust_top1", "miou"] = Field(
        "top1", description="Metric on the validation part that tells the best epoch."
    )
    adversary: AdversarySpec | None = Field(None, description="Adversarial training; null: none.")
    validation_attack: ValidationAttack | None = Field(
        None, description="Attack that `robust_top1` is measured under; null: the adversary's, or none."
    )

    segmentation: SegmentationSpec | None = Field(None, description="Head and pixels; null: there is no segmentation.")

    @model_validator(mode="after")
    def _segmentation_fits(self) -> Self:
        if (self.segmentation is not None) != (self.task == "segmentation"):
            raise ValueError(f"segmentation: {'missing' if self.segmentation is None else 'said'} for {self.task}")
        return self

    @model_validator(mode="after")
    def _adversary_fits(self) -> Self:
        if self.adversary is not None and self.task != "classification":
            raise ValueError(f"adversary: there is no adversarial training for {self.task}")
        if self.validation_attack is not None and self.task != "classification":
            raise ValueError(f"validation_attack: there is nothing to attack in {self.task}")
        if self.best_by == ROBUST and self.attack is None:
            raise ValueError(f"best_by: {ROBUST} is measured where there is an adversary or a validation attack")
        return self

    @property
    def attack(self) -> ValidationAttack | None:
        """The attack that `robust_top1` is measured under, if it is measured."""
        if self.validation_attack is not None or self.adversary is None:
            return self.validation_attack
        return self.adversary.validation_attack

    @cached_property
    def run_id(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of the canonical JSON."""
        return digest(self.canonical())

    def canonical(self) -> dict[str, object]:
        """Returns the JSON value that is hashed: fields equal to their default are left out."""
        return self.model_dump(mode="json", exclude_defaults=True)

    def to_json(self) -> str:
        """Returns the canonical JSON."""
        return canonical_json(self.canonical())

    @property
    def needs(self) -> tuple[str, ...]:
        """Ids of the runs whose record this run needs first."""
        kind, _, run_id = self.backbone.weights.partition(":")
        return (run_id,) if kind == "run" else ()


class EvalSpec(Frozen):
    """The description of one evaluation of a trained model."""

    evaluation: Ref
    split: Literal["validation", "test", "labelled"] = "test"
    weights: Which = "last"
    limit: int | None = Field(None, ge=1, description="Evaluate a sample of so many images, drawn by the seed.")
    seed: int = 0

    def eval_id(self, run_id: str) -> str:
        """Returns the id of this evaluation of that run."""
        return digest({"run": run_id, "eval": self.model_dump(mode="json", exclude_defaults=True)})
