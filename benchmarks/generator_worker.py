"""One alternative of generator_speed.py in a process of its own; speaks JSON lines with it.

Allocator settings belong to a process, and peak memory too: hence one process each, in turns.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dp3_lightning.generators import (
    StyleGANUnet,
    StyleGANUnetAdapter,
    optimize_for_inference,
)
from dp3_lightning.generators.presets import GENERATOR_PRESETS
from dp3_lightning.runtime.allocator import keep_freed_memory

UPSTREAM_DEFAULTS: dict[str, Any] = {
    "im_channels": 3, "cse_nc": None, "mask_output": True, "input_cse": False, "scale_grad": True,
    "n_middle_blocks": 0, "input_keypoints": False, "n_keypoints": None,
    "input_keypoint_indices": (),
}  # fmt: skip

Draw = Callable[[Tensor, Tensor, Tensor], Tensor]


def upstream(preset: str, state: dict[str, Tensor], device: str, half: bool) -> Draw:
    """DeepPrivacy2's own network, on a CUDA device in its own half precision when asked."""
    from dp2.generator.stylegan_unet import StyleGANUnet as Upstream

    options = UPSTREAM_DEFAULTS | GENERATOR_PRESETS[preset]
    options["imsize"] = list(options["imsize"])
    net = Upstream(**options).eval().to(device)
    net.load_state_dict(state)
    state.clear()

    def draw(condition: Tensor, keep_mask: Tensor, z: Tensor) -> Tensor:
        with torch.autocast(device, dtype=torch.float16, enabled=half):
            image: Tensor = net(condition=condition, mask=keep_mask, z=z)["img"]
        return image

    return draw


def native(preset: str, state: dict[str, Tensor], device: str, form: str) -> Draw:
    """The native network: training form, or the fast one in float32, bfloat16 or float16."""
    net = StyleGANUnet.from_preset(preset)
    net.load_state_dict(state)
    state.clear()  # a user would not keep it either
    adapter: Any = StyleGANUnetAdapter(net).eval()
    del net
    if form != "training form":
        adapter = optimize_for_inference(adapter, dtype=getattr(torch, form))
    adapter = adapter.to(device)

    def draw(condition: Tensor, keep_mask: Tensor, z: Tensor) -> Tensor:
        raw: Tensor = adapter(condition[:, None], keep_mask[:, None], z)[:, 0]
        return keep_mask * condition + (1 - keep_mask) * raw

    return draw


def inputs(preset: str, batch: int, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures in range with a hole in the middle, one person each."""
    random = torch.Generator().manual_seed(0)
    height, width = GENERATOR_PRESETS[preset]["imsize"]
    keep_mask = torch.ones(batch, 1, height, width)
    keep_mask[..., height // 4 : -height // 4, width // 4 : -width // 4] = 0
    pictures = torch.rand(batch, 3, height, width, generator=random) * 2 - 1
    z = torch.randn(batch, 512, generator=random)
    return tuple(t.to(device) for t in (pictures * keep_mask, keep_mask, z))  # type: ignore[return-value]


@torch.inference_mode()
def main() -> None:
    task = json.loads(sys.argv[1])
    torch.set_num_threads(task["threads"])
    if task["keep_memory"] and not keep_freed_memory():
        raise SystemExit("The allocator does not take hints here.")
    state = torch.load(task["weights"], weights_only=True)
    device = task["device"]
    if task["kind"] == "upstream":
        draw = upstream(task["preset"], state, device, task["form"] == "float16")
    else:
        draw = native(task["preset"], state, device, task["form"])
    example = inputs(task["preset"], task["batch"], device)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        if line.strip() == "stop":
            break
        start = time.perf_counter()
        image = draw(*example)
        if device != "cpu":
            torch.cuda.synchronize()
        print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)
    torch.save(image.float().cpu(), Path(task["output"]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if device != "cpu":
        peak = torch.cuda.max_memory_allocated() / 2**20
    print(json.dumps({"peak_mib": peak}), flush=True)


if __name__ == "__main__":
    main()
