"""Out of memory: the same training with smaller micro-batches, which by gradient caching is the same mathematics."""

from __future__ import annotations

from dataclasses import replace

from coretune.results.record import Cause
from coretune.runs.causes import SMALLER_HELPS
from coretune.tuning.batch_norm import sharing_layers
from coretune.tuning.context import Context
from coretune.tuning.division import Part, divide
from coretune.tuning.loop import Parts


def largest_micro_batch(parts: Parts, context: Context) -> int:
    """Returns how many samples' activations a worker has in memory at once at most."""
    own = _division(parts, context).widest
    return own if context.micro_batch is None else min(own, context.micro_batch)


def smallest_micro_batch(parts: Parts, context: Context) -> int:
    """Returns below which number a micro-batch changes nothing: the batch-norm groups of one worker, or 1."""
    if not sharing_layers(parts.model.encoder):
        return 1
    part = _division(parts, context)
    return max(part.largest_shares() if part.synchronised else part.groups)


def halved(parts: Parts, context: Context) -> Context | None:
    """Returns the context with half the micro-batch, also in evaluations, or None where that is no less."""
    now, least = largest_micro_batch(parts, context), smallest_micro_batch(parts, context)
    if now <= least:
        return None
    return replace(
        context, micro_batch=max(least, now // 2), evaluation_batch=max(1, min(context.evaluation_batch, now) // 2)
    )


def exhausted(cause: Cause, least: int) -> Cause:
    """Returns the cause of a run that is out of memory at the smallest micro-batch."""
    said = cause.message.removesuffix(SMALLER_HELPS)
    why = "" if least == 1 else ", one batch-norm group of a worker"
    return cause.replace(message=f"{said} (with micro-batches of {least}{why}, and there are no smaller ones)")


def _division(parts: Parts, context: Context) -> Part:
    train, method = parts.train, parts.method
    found = divide(train.batch, train, context.shard.workers, views=method.views, regroups=method.regroups)
    return found.whole
