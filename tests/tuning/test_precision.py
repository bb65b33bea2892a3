from __future__ import annotations

import pytest
import torch
from support.training import CPU

from coretune.tuning.precision import autocast, gradient_scaler

torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_products_are_of_the_precision(precision: str, dtype: torch.dtype) -> None:
    with autocast(CPU, precision):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
    assert gradient_scaler(CPU, precision).is_enabled() == (precision == "fp16")
