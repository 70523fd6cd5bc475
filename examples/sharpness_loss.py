"""A loss in another project: copy, change the formula, name it in YAML.

.. code-block:: yaml

    trainer:
      callbacks:
        - class_path: examples.sharpness_loss.SharpnessLoss
          init_args: {weight: 0.5}
"""

from torch import Tensor

from dp3_lightning.callbacks import LossCallback
from dp3_lightning.regions import masked_mean
from dp3_lightning.structures import GeneratorStep


class SharpnessLoss(LossCallback):
    """Ask for as much gradient energy in the hole as around it; punishes blur."""

    def compute_loss(self, step: GeneratorStep) -> Tensor:
        """Compare the mean horizontal gradient inside and outside the hole, per clip."""
        gradient = (step.fake[..., 1:] - step.fake[..., :-1]).abs()
        keep = step.keep_mask[..., 1:]
        difference = masked_mean(gradient, 1 - keep) - masked_mean(gradient, keep)
        both = (keep.flatten(1).amax(1) > 0) & (keep.flatten(1).amin(1) < 1)
        return (difference.abs() * both).mean()  # without a hole, or without a rest: 0
