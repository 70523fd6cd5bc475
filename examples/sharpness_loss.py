"""A loss of your own, from another project: copy, change the formula, name it in YAML.

.. code-block:: yaml

    trainer:
      callbacks:
        - class_path: examples.sharpness_loss.SharpnessLoss
          init_args: {weight: 0.5}
"""

from torch import Tensor

from dp3_lightning.callbacks import LossCallback
from dp3_lightning.structures import GeneratorStep


class SharpnessLoss(LossCallback):
    """Generated holes have as much gradient energy as the rest of the frame; punishes blur."""

    def compute_loss(self, step: GeneratorStep) -> Tensor:
        """Compare the mean absolute horizontal gradient inside and outside the hole, per clip."""
        gradient = (step.fake[..., 1:] - step.fake[..., :-1]).abs()
        hole = (1 - step.keep_mask[..., 1:]).expand_as(gradient)
        inside = (gradient * hole).flatten(1).sum(1) / hole.flatten(1).sum(1).clamp_min(1)
        outside = (gradient * (1 - hole)).flatten(1).sum(1) / (1 - hole).flatten(1).sum(
            1
        ).clamp_min(1)
        return (inside - outside).abs().mean()
