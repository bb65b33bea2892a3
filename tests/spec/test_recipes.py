"""The published recipe: its numbers, what follows what is said, and that it is a recipe."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coretune.spec.augment import AugmentSpec
from coretune.spec.catalog.pretraining import MoCoParameters
from coretune.spec.catalog.recipes import augmentation, parameters, recipe
from coretune.spec.run import TrainSpec


def test_the_recipe_is_that_of_the_paper() -> None:
    train = TrainSpec.model_validate(recipe({}))
    assert (train.epochs, train.batch, train.contrast_batch, train.bn_group) == (200, 256, 256, 32)
    assert (train.lr, train.momentum, train.nesterov, train.weight_decay) == (0.03, 0.9, False, 1e-4)
    assert (train.optimizer, train.schedule, train.warmup_epochs, train.evaluate_every) == ("sgd", "cosine", 0, 5)
    method = MoCoParameters.model_validate(parameters({}, images=1_281_167))
    assert (method.queue, method.momentum, method.temperature, method.projection_dim) == (65536, 0.999, 0.2, 128)
    views = AugmentSpec.model_validate(augmentation({}, 224))
    assert (views.crop_scale, views.flip, views.grey, views.blur, views.blur_sigma) == (
        (0.2, 1),
        True,
        0.2,
        0.5,
        (0.1, 2),
    )
    assert (views.brightness, views.contrast, views.saturation, views.hue) == (0.4, 0.4, 0.4, 0.1)
    assert (views.jitter_probability, views.jitter_order, views.rotation) == (0.8, "shuffled", 0)
    assert AugmentSpec.model_validate(augmentation({}, 32)).blur == 0


def test_what_is_said_is_over_the_recipe_and_the_rest_follows_it() -> None:
    small = recipe({"batch": 64, "epochs": 20})
    assert (small["lr"], small["contrast_batch"], small["bn_group"], small["evaluate_every"]) == (0.0075, 64, 32, 1)
    said = {"batch": 64, "contrast_batch": 32, "lr": 1.0, "bn_group": 16, "evaluate_every": 3}
    assert recipe(said).items() >= said.items()
    assert recipe({"batch": 32})["bn_group"] is None, "a single group has nothing to shuffle"
    assert parameters({"queue": 7}, images=10**6)["queue"] == 7
    assert augmentation({"blur": 0.1, "flip": False}, 32).items() >= {"blur": 0.1, "flip": False}.items()


@pytest.mark.parametrize(("images", "queue"), [(45_000, 16_384), (131_072, 65_536), (131_071, 32_768), (5, 2), (1, 1)])
def test_a_queue_holds_half_of_the_images_at_most(images: int, queue: int) -> None:
    assert parameters({}, images)["queue"] == queue


@given(st.integers(1, 5000), st.integers(1, 2000))
def test_any_batch_and_length_give_a_recipe(batch: int, epochs: int) -> None:
    train = TrainSpec.model_validate(recipe({"batch": batch, "epochs": epochs}))
    assert 1 <= epochs // train.evaluate_every < 80
    assert train.bn_group is None or train.bn_group < train.contrast_batch


@pytest.mark.parametrize("wrong", [{"batch": "many"}, {"batch": -1}, {"epochs": 0}, {"epochs": True}, {"batch": None}])
def test_a_wrong_value_is_left_to_whoever_checks_the_recipe(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrainSpec.model_validate(recipe(wrong))
