"""The fully connected network whose inputs and outputs are jets."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from VesselFlowGSLib.flow.jets import jet_tanh


@dataclass(frozen=True)
class NetworkSettings:
    """Hidden layers and their width."""

    layers: int = 3
    width: int = 28


class Network:
    """tanh network with parameters in one flat float64 vector, as quasi-Newton methods want them.

    sizes: (inputs, hidden, …, outputs). The last layer starts at zero, so that the flow before training is the
    prescribed base flow alone: even a little noise on it would carry blood across the layers at the wall.
    """

    def __init__(self, sizes: tuple[int, ...], seed: int) -> None:
        self.sizes = sizes
        generator = torch.Generator().manual_seed(seed)
        parts: list[torch.Tensor] = []
        for layer, (i, o) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
            weight = torch.randn(i, o, generator=generator, dtype=torch.float64) * math.sqrt(2 / (i + o))
            last = layer == len(sizes) - 2
            parts += [(weight * (0.0 if last else 1.0)).reshape(-1), torch.zeros(o, dtype=torch.float64)]
        self.start = torch.cat(parts)

    def layers(self, flat: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Weights (in, out) and biases (out,) as views of the flat parameters."""
        found, at = [], 0
        for i, o in zip(self.sizes[:-1], self.sizes[1:], strict=True):
            found.append((flat[at : at + i * o].view(i, o), flat[at + i * o : at + i * o + o]))
            at += i * o + o
        return found

    def jet(self, flat: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        """(5, N, inputs) jets to (5, N, outputs) jets."""
        *hidden, (weight, bias) = self.layers(flat)
        h = inputs
        for w, b in hidden:
            z = h @ w
            h = jet_tanh(torch.cat([z[:1] + b, z[1:]]))
        z = h @ weight
        return torch.cat([z[:1] + bias, z[1:]])

    def value(self, flat: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        """(N, inputs) to (N, outputs)."""
        *hidden, (weight, bias) = self.layers(flat)
        h = inputs
        for w, b in hidden:
            h = torch.tanh(h @ w + b)
        return h @ weight + bias
