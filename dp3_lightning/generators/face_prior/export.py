"""Write a fine-tuned context encoder for other tools, and to anonymize with."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from dp3_lightning.checks import check_choice
from dp3_lightning.generators.checkpoints import CONFIG_KEY
from dp3_lightning.generators.face_prior.adapter import FacePriorGenerator
from dp3_lightning.generators.face_prior.context_encoder import INPUT_SIZE


def export_face_prior(
    generator: FacePriorGenerator, path: Path, form: str, metadata: Mapping[str, str]
) -> Path:
    """Write the context encoder of a face prior, all of it or nothing.

    Args:
        generator: what to write. The synthesis network is written only when it was trained.
        path: the file; an existing one is replaced.
        form: ``safetensors``: weights that ``load_generator`` takes; ``torchscript``: a program
            ``(aligned, known) -> latent`` on pictures of 96 pixels that needs PyTorch only.
        metadata: texts to keep in the file.

    Raises:
        ValueError: another form; DeepPrivacy2 has no such network.
    """
    check_choice(("safetensors", "torchscript"), form=form)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as scratch:
        written = Path(scratch) / path.name
        if form == "safetensors":
            texts = {key: str(value) for key, value in metadata.items()}
            stored = {**texts, "format": "pt", CONFIG_KEY: json.dumps(generator.config)}
            save_file(generator.stored_state(), written, metadata=stored)
        else:
            jit: Any = torch.jit  # its functions carry no types
            size = (2, 3, INPUT_SIZE, INPUT_SIZE)
            example = (torch.zeros(size), torch.ones(2, 1, INPUT_SIZE, INPUT_SIZE))
            encoder = copy.deepcopy(generator.encoder).cpu().eval()
            jit.save(jit.trace(encoder, example, check_trace=False), str(written))
        written.replace(path)
    return path
