"""Set LightningCLI up for this package."""

from __future__ import annotations

import gc
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from jsonargparse import Namespace
from pytorch_lightning import LightningDataModule, LightningModule
from pytorch_lightning.cli import ArgsType, LightningArgumentParser, LightningCLI

# Imported so that YAML may name these classes without their modules.
from dp3_lightning import callbacks, data, discriminators, generators, modules, optical_flow
from dp3_lightning.anonymize import lightning
from dp3_lightning.cli.resuming import announce, parse_with_checkpoint

__all__ = [
    "TrainingCLI",
    "callbacks",
    "data",
    "discriminators",
    "generators",
    "lightning",
    "modules",
    "optical_flow",
    "run",
]

ROOT_REFERENCE = "${trainer.default_root_dir}"
INTERRUPTED = 130  # exit code of a process that Ctrl-C ended: 128 + SIGINT


class TrainingCLI(LightningCLI):
    """Run LightningCLI with given arguments, after a check of the output folder."""

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse ``args``; unlike the base class, do not warn that ``sys.argv`` is there too."""
        self.config, differences = parse_with_checkpoint(parser, cast(list[str], args))
        announce(differences)

    def _parse_ckpt_path(self) -> None:
        """Leave the configuration alone, over which the base class puts the checkpoint's."""

    def before_instantiate_classes(self) -> None:
        """Insert the output folder where the configuration refers to it, and check access."""
        config = self.config[self.config["subcommand"]]
        check_accelerator(str(config.get("trainer", {}).get("accelerator", "auto")))
        root = config.get("trainer", {}).get("default_root_dir")
        if root is not None:
            check_writable(Path(root))
        replace_root(config, str(root or "."))
        if self.config["subcommand"] == "fit" and not config.get("ckpt_path"):
            refuse_second_run(config.get("trainer", {}).get("callbacks") or [])

    def _prepare_subcommand_parser(
        self, klass: type, subcommand: str, **kwargs: Any
    ) -> LightningArgumentParser:
        """Set defaults: run no code from checkpoints, keep no predicted frames in memory."""
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        known = {action.dest for action in parser._actions}
        defaults = {"weights_only": True, "return_predictions": False}
        parser.set_defaults({key: value for key, value in defaults.items() if key in known})
        return parser


def check_accelerator(accelerator: str) -> None:
    """Refuse a GPU that is absent, and name the remedy.

    Raises:
        ValueError: CUDA is asked for and absent.
    """
    if accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        built = torch.version.cuda or "no CUDA"
        raise ValueError(
            f"`trainer.accelerator: {accelerator}` is asked for, but torch {torch.__version__} "
            f"(built with {built}) sees no CUDA device: set `trainer.accelerator: cpu`, or install "
            "a torch with CUDA and its driver."
        )


def refuse_second_run(callbacks: Sequence[Any]) -> None:
    """Refuse to train into a folder that holds a run, whose ``last.ckpt`` would then be old.

    Raises:
        FileExistsError: naming the checkpoint and both remedies.
    """
    for callback in callbacks:
        options = callback.get("init_args") or {}
        if not options.get("save_last") or not options.get("enable_version_counter", True):
            continue
        last = Path(options.get("dirpath") or ".") / "last.ckpt"
        if last.is_file():
            raise FileExistsError(
                f"{last} is from an earlier run: resume it with `--ckpt_path {last}`, or write "
                "elsewhere with `--trainer.default_root_dir FOLDER`."
            )


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
    """Check that ``folder`` can be created and written to.

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

    unwanted = ("💡 Tip", "Detected KeyboardInterrupt")  # of the latter we say more ourselves

    def is_wanted(record: logging.LogRecord) -> bool:
        return not any(text in record.getMessage() for text in unwanted)

    logging.getLogger("pytorch_lightning.utilities.rank_zero").addFilter(is_wanted)


def run(arguments: Sequence[str]) -> None:
    """Run ``fit``, ``validate``, ``test`` or ``predict``.

    Args:
        arguments: subcommand and its options. ``sys.argv`` stays as it is, because Lightning starts
            the other processes of a multi-device run from it.
    """
    # The script's folder is on the path, the user's is not: their losses are found by name.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    os.environ.setdefault("JSONARGPARSE_ADD_PRINT_COMPLETION_ARGUMENT", "true")
    _silence_known_noise()
    options: dict[str, Any] = {"overwrite": True}  # a second run in the same folder is allowed
    interruption = callbacks.InterruptCheckpoint()
    try:
        TrainingCLI(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            seed_everything_default=0,
            save_config_kwargs=options,
            trainer_defaults={"callbacks": [callbacks.FinalCheckpoint(), interruption]},
            parser_kwargs={"prog": "dp3"},
            args=list(arguments),
        )
    except SystemExit as end:  # Lightning ends an interrupted run with 1
        if interruption.outcome is None:
            raise
        announce(["", interruption.outcome])
        raise SystemExit(INTERRUPTED) from end
    _leave_process_group()


def _leave_process_group() -> None:
    """Join the threads of the process group after a run that succeeded.

    Lightning does so at exit for NCCL only. A Gloo thread that still holds a tensor while the
    interpreter ends aborts a process whose work is done (pytorch/pytorch#179291). After a failure
    nothing is joined: the other ranks may still wait in a collective.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        gc.collect()  # the trainer's cycles hold the group
        torch.distributed.destroy_process_group()
