"""Run the commands ``dp3 ...`` and ``lightning run fit|validate|test|predict``.

Parse, then call; nothing is computed here.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from dp3_lightning.assets import AssetUnavailableError

TRAINER_COMMANDS = ("fit", "validate", "test", "predict")
USAGE = """\
usage: dp3 <command> [options]

  fit, validate, test, predict   train or run a model: --config FILE, --help, --print_config
  anonymize IN -o OUT            replace the faces of videos and pictures; --help
  evaluate OUT --original IN     measure steadiness, sharpness, liveliness and privacy; --help
  privacy-curve FOLDER           measure quality against re-identification; --help
  data synth-faces FOLDER        draw people who do not exist, as training data; --help
  face-prior heads|pack          make the shipped weights of the face prior; --help
  init [FOLDER]                  copy the configuration files to FOLDER (default: configs)
  weights list|get|check|convert list, fetch, check and convert weights of generators
  export CHECKPOINT OUT          write the averaged generator of a checkpoint for other tools
  assets                         list sample clips, models and weights, and where they are cached
  doctor                         check this installation, and say how to repair it
  --version, --help

`lightning run fit ...` is the same as `dp3 fit ...`, and so are `dp3-lightning fit ...` and
`python -m dp3_lightning fit ...`.
"""
# Commands that are a function of their arguments and return the exit code; imported when asked for.
_FUNCTIONS = {
    "weights": "dp3_lightning.cli.weights:weights_command",
    "export": "dp3_lightning.cli.weights:export_command",
    "data": "dp3_lightning.cli.studies:data_command",
    "face-prior": "dp3_lightning.cli.studies:face_prior_command",
    "evaluate": "dp3_lightning.cli.evaluate:evaluate_command",
    "privacy-curve": "dp3_lightning.cli.privacy_curve:privacy_curve_command",
}
_INTERRUPTED = 130  # exit code of a process that Ctrl-C ended: 128 + SIGINT
# Errors that tell a user what to change; others keep their traceback.
_USER_ERRORS = (ValueError, TypeError, OSError, FloatingPointError, AssetUnavailableError)


def main(args: Sequence[str] | None = None) -> None:
    """Run ``dp3``.

    Args:
        args: command line without the program name; None takes ``sys.argv``.
    """
    arguments = list(sys.argv[1:] if args is None else args)
    command = arguments[0] if arguments else "--help"
    _print_any_name()
    if command in TRAINER_COMMANDS:
        _report_errors(lambda: _run_trainer(arguments))
    elif command == "init":
        _report_errors(lambda: _init(arguments[1:]))
    elif command in _FUNCTIONS:
        module, _, name = _FUNCTIONS[command].partition(":")
        _report_errors(
            lambda: sys.exit(getattr(importlib.import_module(module), name)(arguments[1:]))
        )
    elif command == "anonymize":
        _report_errors(lambda: _anonymize(arguments[1:]))
    elif command == "assets":
        _list_assets()
    elif command == "doctor":
        from dp3_lightning.cli.doctor import report

        sys.exit(report())
    elif command == "--version":
        from dp3_lightning import __version__

        print(f"dp3_lightning {__version__}")
    elif command in ("-h", "--help"):
        print(USAGE, end="")
    else:
        sys.exit(f"dp3: unknown command {command!r}\n\n{USAGE}")


def lightning_main(args: Sequence[str] | None = None) -> None:
    """Run ``lightning``: ``run fit|validate|test|predict`` is ours, the rest another package's.

    Args:
        args: command line without the program name; None takes ``sys.argv``.
    """
    arguments = list(sys.argv[1:] if args is None else args)
    if arguments[:1] == ["run"] and arguments[1:2] and arguments[1] in TRAINER_COMMANDS:
        main(arguments[1:])
        return
    other = other_lightning_command()
    if other is not None:
        sys.exit(other.load()())
    print(
        "dp3_lightning provides `lightning run fit|validate|test|predict`; all other commands "
        "belong to the Lightning SDK, which is not installed (pip install lightning-sdk).",
        file=sys.stderr,
    )
    asked_for_help = not arguments or arguments[0] in ("-h", "--help")
    sys.exit(0 if asked_for_help else 2)


def other_lightning_command() -> importlib.metadata.EntryPoint | None:
    """Return the ``lightning`` command of another installed package, or None."""
    found = importlib.metadata.entry_points(group="console_scripts", name="lightning")
    for entry in found:
        if not entry.value.startswith("dp3_lightning"):
            return entry
    return None


def _print_any_name() -> None:
    """Escape what the terminal cannot print, such as names in other scripts."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _report_errors(command: Callable[[], None]) -> None:
    """Turn an error that tells the user what to change into one message and exit code 1."""
    try:
        command()
    except KeyboardInterrupt:
        if os.environ.get("DP3_TRACEBACK"):
            raise
        print("\nInterrupted.", file=sys.stderr)
        sys.exit(_INTERRUPTED)
    except Exception as error:
        # Imported late: importing Lightning takes seconds, and `dp3 --help` must not.
        from lightning_fabric.utilities.exceptions import MisconfigurationException

        expected = (*_USER_ERRORS, MisconfigurationException)
        if not isinstance(error, expected) or os.environ.get("DP3_TRACEBACK"):
            raise
        sys.exit(f"dp3: error: {_innermost(error)}\n(DP3_TRACEBACK=1 shows where it came from)")


def _innermost(error: BaseException) -> BaseException:
    """Return a constructor's own error, without the parser's list of every type that it tried."""
    while str(error).startswith("Does not validate"):
        inner = error.__cause__ or error.__context__
        if inner is None:
            return error
        error = inner
    return error


def _run_trainer(arguments: list[str]) -> None:
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    from dp3_lightning.cli.train import run
    from dp3_lightning.runtime.allocator import keep_freed_memory

    keep_freed_memory()

    run(arguments)


def _anonymize(arguments: list[str]) -> None:
    from dp3_lightning.cli.anonymize import anonymize_command
    from dp3_lightning.runtime.allocator import keep_freed_memory

    keep_freed_memory()
    sys.exit(anonymize_command(arguments))


def configuration_folder() -> Path:
    """Return the folder of the shipped configuration files (wheel or checkout)."""
    package = Path(__file__).parents[1]
    for folder in (package / "configs", package.parent / "configs"):
        if (folder / "finetune.yaml").is_file():
            return folder
    raise FileNotFoundError(f"The configuration files are missing beside {package}: reinstall.")


def _init(arguments: list[str]) -> None:
    target = Path(arguments[0] if arguments else "configs")
    source = configuration_folder()
    written, kept = [], []
    for path in sorted(p for p in source.rglob("*") if p.suffix in (".yaml", ".md")):
        output = target / path.relative_to(source)
        if output.exists():
            kept.append(output)
            continue
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_bytes(path.read_bytes())
        written.append(output)
    for path in written:
        print(f"wrote {path}")
    for path in kept:
        print(f"kept  {path} (it exists)")
    print(f"Try: lightning run fit --config {target / 'quickstart.yaml'}")


def _list_assets() -> None:
    from dp3_lightning.assets import cache_folder, list_assets

    for asset in list_assets():
        print(f"{asset.name:24} {asset.kind:8} {asset.description}")
    print(f"Cached under {cache_folder()}")
