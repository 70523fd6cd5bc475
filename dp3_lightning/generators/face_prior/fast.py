"""The fast form of the synthesis network: OpenVINO where it is installed, else PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from dp3_lightning.checks import check_choice
from dp3_lightning.generators.face_prior.synthesis import (
    N_STYLES,
    W_DIM,
    MobileStyleGANSynthesis,
)
from dp3_lightning.runtime.openvino import has_openvino, import_openvino, shared_core

Precision = Literal["32", "bf16"]
Draw = Callable[[Tensor], Tensor]


class _OneSize(nn.Module):
    def __init__(self, net: MobileStyleGANSynthesis, size: int) -> None:
        super().__init__()
        self.net, self.size = net, size

    def forward(self, w: Tensor) -> Tensor:
        picture: Tensor = self.net(w, self.size)
        return picture


class FastSynthesis:
    """Draw faces without gradients, one size compiled when it is first asked for.

    Args:
        net: the network; its present weights are used.
        precision: ``32``, or ``bf16`` where the processor computes fast in it (54 dB; otherwise
            32 is taken).
        runtime: ``auto`` takes OpenVINO when it is installed and the network is on the CPU.

    Raises:
        ValueError: an unknown word.
    """

    def __init__(
        self,
        net: MobileStyleGANSynthesis,
        precision: Precision = "bf16",
        runtime: Literal["auto", "openvino", "torch"] = "auto",
    ) -> None:
        check_choice(("32", "bf16"), precision=precision)
        check_choice(("auto", "openvino", "torch"), runtime=runtime)
        on_cpu = net.start.device.type == "cpu"
        use = runtime == "openvino" or (runtime == "auto" and on_cpu and has_openvino())
        self.net, self.precision, self.runtime = net, precision, "openvino" if use else "torch"
        self._compiled: dict[int, Any] = {}

    def __call__(self, w: Tensor, size: int = 256) -> Tensor:
        """Draw faces: styles ``(N, 9, 512)`` or ``(N, 512)`` to ``(N, 3, size, size)`` float32."""
        if w.ndim == 2:
            w = w[:, None].expand(-1, N_STYLES, -1)
        if self.runtime == "torch":
            with torch.inference_mode():
                return self._torch(w, size)
        run = self._openvino(size)
        levels = np.ascontiguousarray(w.detach().numpy(), np.float32)
        rows = [run(levels[n : n + 1])[0].copy() for n in range(len(levels))]
        return torch.from_numpy(np.concatenate(rows))

    def _torch(self, w: Tensor, size: int) -> Tensor:
        device = self.net.start.device
        if device.type == "cuda" and self.precision == "bf16":
            with torch.autocast("cuda", torch.bfloat16):
                picture: Tensor = self.net(w.to(device), size)
        else:
            picture = self.net(w.to(device), size)
        return picture.float().cpu()

    def _openvino(self, size: int) -> Any:
        if size not in self._compiled:
            openvino = import_openvino()
            model = _OneSize(self.net, size).eval()
            example = torch.zeros(1, N_STYLES, W_DIM)
            with torch.no_grad():
                # Traced here, without the check that draws everything three times.
                traced = torch.jit.trace(  # type: ignore[no-untyped-call]
                    model, example, check_trace=False
                )
                graph = openvino.convert_model(
                    traced, example_input=example, input=[list(example.shape)]
                )
            core = shared_core()
            known = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
            fast = self.precision == "bf16" and "BF16" in known
            options = {"INFERENCE_PRECISION_HINT": "bf16" if fast else "f32"}
            self._compiled[size] = core.compile_model(graph, "CPU", options)
        return self._compiled[size]
