"""Where the weights lie that were trained here and travel with the package."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent / "weights"


def shipped(name: str) -> Path:
    """Return the file of shipped weights.

    Args:
        name: ``latent_space``, ``color_heads``, ``context_encoder`` or ``latent_model``.

    Raises:
        FileNotFoundError: the installation lacks it.
    """
    path = FOLDER / f"{name}.safetensors"
    if not path.is_file():
        raise FileNotFoundError(
            f"The shipped weights {path.name} are missing beside {FOLDER.parent}: reinstall."
        )
    return path
