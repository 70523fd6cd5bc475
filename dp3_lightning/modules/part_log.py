"""Log values of a batch that is split into parts."""

from __future__ import annotations

from pytorch_lightning import LightningModule
from torch import Tensor


class PartLog:
    """Add up values over the parts of a batch and log them once per update.

    Attributes:
        share: share of the clips in the part at work; the shares of all parts sum to 1.
    """

    def __init__(self) -> None:
        self.share = 1.0
        self._values: dict[str, Tensor] = {}

    def add(self, name: str, value: Tensor) -> None:
        """Add a value of the current part."""
        part = value.detach() * self.share
        self._values[name] = self._values[name] + part if name in self._values else part

    def put(self, name: str, value: Tensor) -> None:
        """Set a value of the whole batch."""
        self._values[name] = value.detach()

    def flush(self, module: LightningModule) -> None:
        """Log all values, averaged over processes; the generator's terms show on the bar."""
        for name, value in self._values.items():
            on_bar = name.startswith("train/generator/") and not name.endswith("gradient_norm")
            module.log(name, value, prog_bar=on_bar, sync_dist=True)
        self._values.clear()
