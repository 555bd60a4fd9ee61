"""The training loss: cross-entropy with label smoothing, on plain and on mixed batches."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def mixed_cross_entropy(logits: torch.Tensor, labels_a: torch.Tensor, labels_b: torch.Tensor,
                        lam: float | torch.Tensor, smoothing: float | torch.Tensor = 0.0) -> torch.Tensor:
    """Mean cross-entropy of a batch, a scalar in fp32 (fp64 for fp64 logits).

    logits: (batch, classes), any floating type. labels_a, labels_b: (batch,) int64 class numbers; for a plain batch
    the same tensor twice. lam: the weight of labels_a in 0..1, a number or a scalar tensor (in a compiled step a
    tensor avoids recompiling for each value). smoothing: the share of the target in 0..1 that is spread evenly
    over all classes (Szegedy et al. 2016), a number or a scalar tensor; the caller passes 0 where mixed batches get
    none.

    Equals F.cross_entropy on the dense target lam * onehot(a) + (1 - lam) * onehot(b), without building it.
    """
    log_probs = F.log_softmax(logits if logits.dtype == torch.float64 else logits.float(), dim=1)
    loss = F.nll_loss(log_probs, labels_a)
    if labels_b is not labels_a:
        loss = lam * loss + (1 - lam) * F.nll_loss(log_probs, labels_b)
    if not isinstance(smoothing, torch.Tensor) and smoothing == 0:
        return loss
    return (1 - smoothing) * loss - smoothing * log_probs.mean()
