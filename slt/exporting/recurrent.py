"""GRUs and LSTMs as ONNX's own operators: torch.export would unroll them over the frames of the example.

Shape letters: B clips, T frames, D width, H hidden size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

# ONNX's operator, where each of its gates stands in torch's weights, and how it is told to compute as torch does.
OPERATORS: dict[type[nn.Module], tuple[str, tuple[int, ...], dict[str, Any]]] = {
    nn.GRU: ("GRU", (1, 0, 2), {"linear_before_reset": 1}),
    nn.LSTM: ("LSTM", (0, 3, 1, 2), {}),
}


class Recurrent(nn.Module):
    """A GRU or LSTM (batch first, with biases) that starts from zeros, and whose last state nobody asks for."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """(B, T, D) -> (B, T, H or 2 H)."""
        network = self.network
        if not torch.onnx.is_in_onnx_export():
            return network(x)[0], None
        operator, _, attributes = OPERATORS[type(network)]
        sides = ("", "_reverse") if network.bidirectional else ("",)
        direction = "bidirectional" if network.bidirectional else "forward"
        attributes = {**attributes, "hidden_size": network.hidden_size, "direction": direction}
        x = x.transpose(0, 1)
        for layer in range(network.num_layers):
            weights = [self._gates(f"{kind}_l{layer}{{}}", sides) for kind in ("weight_ih", "weight_hh")]
            biases = [self._gates(f"{kind}_l{layer}{{}}", sides) for kind in ("bias_ih", "bias_hh")]
            shape = (x.shape[0], len(sides), x.shape[1], network.hidden_size)
            x = torch.onnx.ops.symbolic(operator, [x, *weights, torch.cat(biases, 1)], attrs=attributes,
                                        dtype=x.dtype, shape=shape, version=14)  # fmt: skip
            x = x.transpose(1, 2).flatten(2)
        return x.transpose(0, 1), None

    def _gates(self, name: str, sides: tuple[str, ...]) -> Tensor:
        """A weight or bias of every direction, its gates in ONNX's order."""
        order = OPERATORS[type(self.network)][1]
        parts = [getattr(self.network, name.format(side)).chunk(len(order)) for side in sides]
        return torch.stack([torch.cat([gates[place] for place in order]) for gates in parts])
