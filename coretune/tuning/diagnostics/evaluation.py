"""The geometry of a trained model's features as an evaluation."""

from __future__ import annotations

from coretune.data.pack import Packed
from coretune.nets.model import Model
from coretune.spec.catalog.evaluations import GeometryParameters
from coretune.tuning.context import Context
from coretune.tuning.diagnostics.diagnosis import diagnose_pool
from coretune.tuning.diagnostics.pool import Indices, balanced_pools, pool_features


def evaluate_geometry(
    model: Model, packed: Packed, indices: Indices, context: Context, *, params: GeometryParameters, seed: int = 0
) -> dict[str, float]:
    """Measures the backbone's features on a class-balanced pool of some images.

    Args:
        model: On the context's device.
        packed: The images.
        indices: (m,) from which the pool is drawn.
        context: Device and batch size.
        params: Size of the pool, and τ.
        seed: Of the pool.

    Returns:
        The numbers of `Diagnosis.metrics`; what is not defined is left out. Only `samples` and `classes`, both 0, if
        no class has two images, so that a finished training does not fail for it.
    """
    (drawn,) = balanced_pools(packed.labels, [indices], per_class=params.per_class, seed=seed)
    if not len(drawn):
        return {"samples": 0.0, "classes": 0.0}
    pool = pool_features(model, None, packed, drawn, context)
    return diagnose_pool(pool, model, temperature=params.temperature)["backbone"].metrics()
