"""Measure generated clips in validation and test, averaged over clips and processes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

from dp3_lightning.losses.flow_consistency import warping_error
from dp3_lightning.losses.pixel import ring_error
from dp3_lightning.modules.batches import Batch


class ClipMetrics(nn.Module):
    """Average over clips and processes, weighted by clips.

    ``ring_error``: mean absolute error on the inner ring of the hole. ``warping_error``: squared
    difference of a frame and the flow-warped one before it, in the hole. ``warping_error_excess``:
    the same minus what the real frames score, since those are not zero either.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ring_error = MeanMetric(nan_strategy="error")
        self.warping_error = MeanMetric(nan_strategy="error")
        self.warping_error_excess = MeanMetric(nan_strategy="error")

    def update(self, fake: Tensor, batch: Batch) -> None:
        """Add generated clips.

        Args:
            fake: composites ``(B, T, 3, H, W)`` in [-1, 1].
            batch: the batch they were made from; without flow, only ``ring_error`` is measured.
        """
        clip, keep_mask = batch["clip"], batch["keep_mask"]
        self.ring_error.update(ring_error(fake, clip, keep_mask))
        if clip.shape[1] < 2 or "flow_to_previous" not in batch:
            return
        flow = (batch["flow_to_previous"], batch["flow_from_previous"], batch["pair_valid"])
        error = warping_error(fake, 1 - keep_mask, *flow)
        floor = warping_error(clip, 1 - keep_mask, *flow)
        comparable = ~floor.isnan()  # by the visibility, which the generated frames share
        if comparable.any():
            self.warping_error.update(error[comparable])
            self.warping_error_excess.update((error - floor)[comparable])

    def compute(self) -> dict[str, Tensor]:
        """Return the means over all processes that saw a clip, and reset."""
        values: dict[str, Tensor] = {}
        for name, metric in self.named_children():
            assert isinstance(metric, MeanMetric)
            value = metric.compute()
            if torch.isfinite(value):
                values[name] = value
            with torch.inference_mode(False):  # else a later fit could not update what this creates
                metric.reset()
        return values
