"""Write a fine-tuned generator for other people's tools."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from dp3_lightning.checks import check_choice
from dp3_lightning.generators.base import GeneratorAdapter
from dp3_lightning.generators.checkpoints import CONFIG_KEY
from dp3_lightning.generators.face_prior.adapter import FacePriorGenerator
from dp3_lightning.generators.face_prior.export import export_face_prior
from dp3_lightning.generators.inference import optimize_for_inference
from dp3_lightning.generators.native import StyleGANUnetAdapter
from dp3_lightning.generators.stylegan_unet import StyleGANUnet

EXPORT_FORMATS = ("dp2", "safetensors", "torchscript")
TOLERANCE = 1e-4  # of an exported program against the eager network


def export_generator(
    generator: GeneratorAdapter,
    path: str | Path,
    form: str,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write a generator to one file, all of it or nothing.

    Args:
        generator: what to write: a native generator, or the face prior (its context encoder:
            safetensors, or a TorchScript program ``(aligned, known) -> latent``).
        path: the file; an existing one is replaced.
        form: ``dp2``: a checkpoint that DeepPrivacy2's own loader takes (``EMA_generator``);
            ``safetensors``: weights with ``metadata``; ``torchscript``: a program ``(condition,
            keep_mask, z) -> image`` that needs PyTorch only, checked against the eager network.
        metadata: texts to keep in the file (licence, training data); safetensors and dp2.

    Returns:
        The path.

    Raises:
        ValueError: unknown ``form``.
        FileNotFoundError: no such folder.
        TypeError: a generator that has no such form.
        RuntimeError: the exported program draws something else than the network.
    """
    check_choice(EXPORT_FORMATS, form=form)
    target = Path(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"No folder {str(target.parent)!r} to write into. Create it first.")
    if isinstance(generator, FacePriorGenerator):
        return export_face_prior(generator, target, form, metadata or {})
    if not isinstance(generator, StyleGANUnetAdapter):
        raise TypeError(f"Cannot export {type(generator).__name__}.")
    texts = {key: str(value) for key, value in (metadata or {}).items()}
    writers: dict[str, Callable[[StyleGANUnetAdapter, Path, dict[str, str]], None]] = {
        "dp2": _write_dp2,
        "safetensors": _write_safetensors,
        "torchscript": _write_torchscript,
    }
    # Inside the target's folder, because a rename is atomic only within one file system.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as scratch:
        written = Path(scratch) / target.name
        writers[form](generator, written, texts)
        os.replace(written, target)
    return target


def _tensors(net: nn.Module) -> dict[str, Tensor]:
    """Return the state dict on the CPU, each tensor with memory of its own."""
    return {key: value.detach().cpu().clone() for key, value in net.state_dict().items()}


def _write_dp2(generator: StyleGANUnetAdapter, path: Path, metadata: dict[str, str]) -> None:
    content: dict[str, Any] = {"EMA_generator": _tensors(generator.net)}
    torch.save(content | {CONFIG_KEY: generator.net.config, "metadata": metadata}, path)


def _write_safetensors(
    generator: StyleGANUnetAdapter, path: Path, metadata: dict[str, str]
) -> None:
    stored = metadata | {"format": "pt", CONFIG_KEY: json.dumps(generator.net.config)}
    save_file(_tensors(generator.net), path, metadata=stored)


class _Program(nn.Module):
    """Map condition, mask and latent to the pasted image, for tracing."""

    def __init__(self, net: StyleGANUnet) -> None:
        super().__init__()
        self.net = net

    def forward(self, condition: Tensor, keep_mask: Tensor, z: Tensor) -> Tensor:
        x, features = self.net.encode(condition, keep_mask)
        raw = self.net.decode(x, features, self.net.style_net(z))
        return keep_mask * condition + (1 - keep_mask) * raw


def _example(net: StyleGANUnet, n: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    height, width = net.imsize
    keep_mask = torch.ones(n, 1, height, width)
    keep_mask[..., height // 4 : -height // 4, width // 4 : -width // 4] = 0
    picture = torch.rand(n, 3, height, width, generator=random) * 2 - 1
    return picture * keep_mask, keep_mask, torch.randn(n, net.z_channels, generator=random)


@torch.no_grad()
def _write_torchscript(
    generator: StyleGANUnetAdapter, path: Path, metadata: dict[str, str]
) -> None:
    del metadata
    net = generator.net
    if net.input_cse or net.input_keypoints:
        raise ValueError(
            "TorchScript export takes generators of condition, mask and z only; this one needs "
            "a surface embedding or key points. Use `dp2` or `safetensors`."
        )
    eager = _Program(net).eval()
    fast = _Program(optimize_for_inference(generator).net).eval()
    jit: Any = torch.jit  # its functions carry no types
    # Traced on two pictures, because a single one takes a shortcut in the norm.
    program = jit.trace(fast, _example(net, 2, seed=0), check_trace=False)
    jit.save(program, str(path))
    loaded = jit.load(str(path))
    # Other batch sizes and pixels than it was traced on.
    examples = [_example(net, n, seed=n) for n in (1, 3)]
    difference = max((loaded(*e) - eager(*e)).abs().max().item() for e in examples)
    if not difference <= TOLERANCE:
        raise RuntimeError(
            f"The exported program differs by {difference:g} from the network, more than "
            f"{TOLERANCE:g}; nothing was written."
        )
