"""LightningCLI, set up for this package."""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from pytorch_lightning import LightningDataModule, LightningModule
from pytorch_lightning.cli import ArgsType, LightningArgumentParser, LightningCLI

# Imported so that YAML may name these classes without their modules.
from dp3_lightning import callbacks, data, discriminators, generators, modules, optical_flow

__all__ = [
    "TrainingCLI",
    "callbacks",
    "data",
    "discriminators",
    "generators",
    "modules",
    "optical_flow",
    "run",
]

ROOT_REFERENCE = "${trainer.default_root_dir}"


class TrainingCLI(LightningCLI):
    """LightningCLI that can be given its arguments and checks the output folder first."""

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse ``args``; unlike the base class, do not warn that ``sys.argv`` is there too."""
        self.config = parser.parse_args(args)

    def before_instantiate_classes(self) -> None:
        """Put the output folder where the configuration refers to it; refuse one without access."""
        config = self.config[self.config["subcommand"]]
        root = config.get("trainer", {}).get("default_root_dir")
        if root is not None:
            check_writable(Path(root))
        replace_root(config, str(root or "."))


def replace_root(node: Any, root: str) -> None:
    """Replace ``ROOT_REFERENCE`` in all strings below ``node``, in place.

    So loggers and checkpoints follow when only ``--trainer.default_root_dir`` is given.
    """
    items: list[tuple[Any, Any]] = []
    if isinstance(node, (dict, Namespace)):
        items = list(vars(node).items() if isinstance(node, Namespace) else node.items())
    elif isinstance(node, list):
        items = list(enumerate(node))
    for key, value in items:
        if isinstance(value, str) and ROOT_REFERENCE in value:
            node[key] = value.replace(ROOT_REFERENCE, root)
        else:
            replace_root(value, root)


def check_writable(folder: Path) -> None:
    """Create ``folder`` and a file in it.

    Raises:
        OSError: that fails; names the folder and the remedy.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(
            f"Cannot write to the output folder {str(folder)!r} ({error.strerror}): set "
            "`trainer.default_root_dir` to a folder you may write."
        ) from error


def _silence_known_noise() -> None:
    """Drop messages that are wrong here or advertise; every other warning stays."""
    for message in (
        # generator_ema is in eval mode on purpose
        r"Found \d+ module\(s\) in eval mode",
        # saving after the update is what "the state after n updates" means
        r"Using ModelCheckpoint with manual optimization",
        # Lightning 2.6's own use of a deprecated torch function
        r".*isinstance\(treespec, LeafSpec\)",
    ):
        warnings.filterwarnings("ignore", message=message)

    def not_a_tip(record: logging.LogRecord) -> bool:
        return "💡 Tip" not in record.getMessage()

    logging.getLogger("pytorch_lightning.utilities.rank_zero").addFilter(not_a_tip)


def run(arguments: Sequence[str]) -> None:
    """Run ``fit``, ``validate``, ``test`` or ``predict``.

    Args:
        arguments: subcommand and its options. ``sys.argv`` stays as it is, because Lightning starts
            the other processes of a multi-device run from it.
    """
    os.environ.setdefault("JSONARGPARSE_ADD_PRINT_COMPLETION_ARGUMENT", "true")
    _silence_known_noise()
    options: dict[str, Any] = {"overwrite": True}  # a second run in the same folder is allowed
    TrainingCLI(
        LightningModule,
        LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        seed_everything_default=0,
        save_config_kwargs=options,
        parser_kwargs={"prog": "dp3"},
        args=list(arguments),
    )
