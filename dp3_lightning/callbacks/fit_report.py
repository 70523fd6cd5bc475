"""Report at the end of a run how held-out metrics changed and where the files are."""

from __future__ import annotations

from pathlib import Path

from pytorch_lightning import Callback, LightningModule, Trainer
from rich.console import Console
from rich.table import Table

from dp3_lightning.callbacks.clip_preview import ClipPreview

EXPLANATIONS = {
    "val/ring_error": "mean absolute error on the band inside the hole's border, levels of [-1, 1]",
    "val/warping_error": "mean squared change of the hole along the real motion",
    "val/warping_error_excess": "the same minus that of the real frames (the noise floor)",
}


class FitReport(Callback):
    """Print the held-out metrics before and after training, and the paths of all files.

    "Before" is the first validation, so let ``trainer.num_sanity_val_steps`` be -1 to measure all
    held-out clips before the first update.
    """

    def __init__(self) -> None:
        super().__init__()
        self.before: dict[str, float] = {}
        self.after: dict[str, float] = {}
        self.steps: list[int] = []

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the metrics of the first and of the latest validation."""
        metrics = trainer.callback_metrics.items()
        values = {name: float(value) for name, value in metrics if name.startswith("val/")}
        self.before = self.before or values
        self.after = values
        self.steps.append(trainer.global_step)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the report on rank zero."""
        if not trainer.is_global_zero:
            return
        console = Console()
        if self.after:
            console.print(self._table())
        for kind, path in self.files(trainer):
            console.print(f"{kind}: {path}", soft_wrap=True, highlight=False)

    def _table(self) -> Table:
        """Return one row per metric, with one column of values if there was one validation only."""
        first, last = self.steps[0], self.steps[-1]
        columns = {f"update {first}": self.before}
        if last != first:
            columns[f"update {last}"] = self.after
        table = Table(title="Held-out clips, averaged generator")
        for heading in ("metric", *columns, "meaning"):
            table.add_column(heading)
        for name in self.after:
            values = [f"{c.get(name, float('nan')):.5f}" for c in columns.values()]
            table.add_row(name, *values, EXPLANATIONS.get(name, ""))
        return table

    @staticmethod
    def files(trainer: Trainer) -> list[tuple[str, Path]]:
        """Return the files that the run wrote, as (kind, path)."""
        found: list[tuple[str, Path]] = []
        callback = trainer.checkpoint_callback
        best, last = (getattr(callback, key, "") for key in ("best_model_path", "last_model_path"))
        if last or best:
            found.append(("checkpoint", Path(last or best)))
        for logger in trainer.loggers:
            if logger.log_dir is not None:
                found.append((type(logger).__name__, Path(logger.log_dir)))
        for preview in (c for c in trainer.callbacks if isinstance(c, ClipPreview)):  # type: ignore[attr-defined]
            found += [("preview", path) for path in preview.paths]
        return found
