"""Why a method works: the geometry of features, the split of the contrastive loss, the gradients of its terms."""

from coretune.tuning.diagnostics.class_means import ClassMeans, class_means
from coretune.tuning.diagnostics.collapse import NeuralCollapse, centre_disagreement, neural_collapse
from coretune.tuning.diagnostics.diagnosis import Diagnosis, diagnose, diagnose_features, diagnose_pool
from coretune.tuning.diagnostics.geometry import Scatter, effective_rank, scatter
from coretune.tuning.diagnostics.gradients import GradientShares, gradient_shares
from coretune.tuning.diagnostics.hypersphere import alignment, class_alignment, uniformity
from coretune.tuning.diagnostics.pool import PoolFeatures, balanced_pools, pool_features, projector_of
from coretune.tuning.diagnostics.split import ContrastSplit, contrast_split

__all__ = [
    "ClassMeans",
    "ContrastSplit",
    "Diagnosis",
    "GradientShares",
    "NeuralCollapse",
    "PoolFeatures",
    "Scatter",
    "alignment",
    "balanced_pools",
    "centre_disagreement",
    "class_alignment",
    "class_means",
    "contrast_split",
    "diagnose",
    "diagnose_features",
    "diagnose_pool",
    "effective_rank",
    "gradient_shares",
    "neural_collapse",
    "pool_features",
    "projector_of",
    "scatter",
    "uniformity",
]
