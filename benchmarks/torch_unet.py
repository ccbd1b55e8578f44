"""The child process of `step_time.py`: the same hypernetised U-Net in PyTorch, run eagerly.

It imports nothing but torch and numpy, so that any Python that has torch can run it. Each line on standard input
asks for training steps; the answer is one line of JSON.
"""

import json
import math
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

SLOPE = 0.01  # of the leaky ReLU, as in the JAX network


class HyperUNet(torch.nn.Module):
    """theta = theta0 + head(hidden(cos|sin(gamma))), applied as a U-Net with functional convolutions."""

    def __init__(self, arrays: dict[str, np.ndarray], levels: int):
        super().__init__()
        self.levels = levels
        self.paths = [name.removeprefix("theta0:") for name in arrays if name.startswith("theta0:")]
        theta0 = [_to_torch(arrays["theta0:" + path]) for path in self.paths]
        self.shapes = [tensor.shape for tensor in theta0]
        self.theta0 = torch.nn.ParameterList(theta0)
        columns = [_to_torch(arrays["head:" + path], rows=True).flatten(1) for path in self.paths]
        self.head = torch.nn.Parameter(torch.cat(columns, 1).T.contiguous())
        self.hidden = torch.nn.ModuleList()
        for index in range(sum(name.startswith("kernel:") for name in arrays)):
            layer = torch.nn.Linear(*arrays[f"kernel:{index}"].shape)
            layer.weight.data = torch.tensor(arrays[f"kernel:{index}"].T.copy())
            layer.bias.data = torch.tensor(arrays[f"bias:{index}"])
            self.hidden.append(layer)

    def forward(self, gamma: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        angle = 0.5 * math.pi * gamma
        features = torch.cat([torch.cos(angle), torch.sin(angle)])
        for layer in self.hidden:
            features = F.leaky_relu(layer(features), SLOPE)
        pieces = F.linear(features, self.head).split([shape.numel() for shape in self.shapes])
        theta = {
            path: base + piece.view(shape)
            for path, base, piece, shape in zip(self.paths, self.theta0, pieces, self.shapes, strict=True)
        }
        return self._unet(theta, images)

    def _unet(self, theta: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        def block(x, name):
            for index in range(2):
                layer = f"{name}_{index}"
                x = F.leaky_relu(F.conv2d(x, theta[layer + "/kernel"], theta[layer + "/bias"], padding=1), SLOPE)
            return x

        skips = []
        for level in range(self.levels - 1):
            x = block(x, f"down_{level}")
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = block(x, "bottom")
        for level in reversed(range(self.levels - 1)):
            x = block(torch.cat([F.interpolate(x, scale_factor=2), skips[level]], 1), f"up_{level}")
        return F.conv2d(x, theta["logits/kernel"], theta["logits/bias"])


def _to_torch(array: np.ndarray, rows: bool = False) -> torch.Tensor:
    """Kernels from `[height, width, in, out]` to `[out, in, height, width]`, behind a leading axis with `rows`."""
    if array.ndim == 4 + rows:
        order = (3, 2, 0, 1)
        array = array.transpose((0, *(1 + axis for axis in order)) if rows else order)
    return torch.tensor(array.copy())


def main(path: str, threads: str, device: str) -> None:
    torch.set_num_threads(int(threads))
    arrays = dict(np.load(path))
    settings = json.loads(str(arrays.pop("settings")))
    gamma = torch.tensor(arrays.pop("gamma")).to(device)
    images, labels = (torch.tensor(arrays.pop(name).transpose(0, 3, 1, 2).copy()) for name in ("images", "labels"))

    def trainer(memory_format):
        model = HyperUNet(arrays, settings["levels"]).to(device)
        optimizer = torch.optim.SGD(model.parameters(), settings["rate"], settings["momentum"])
        x, y = (tensor.to(device).contiguous(memory_format=memory_format) for tensor in (images, labels))

        def step():
            optimizer.zero_grad(set_to_none=True)
            loss = F.binary_cross_entropy_with_logits(model(gamma, x), y)
            loss.backward()
            optimizer.step()
            return loss

        return step

    trainers = {
        "default": trainer(torch.contiguous_format),
        "channels_last": trainer(torch.channels_last),
    }
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        layout, steps = json.loads(line)
        start = time.perf_counter()
        for _ in range(steps):
            loss = trainers[layout]()
        loss = loss.item()  # waits for the device
        elapsed = (time.perf_counter() - start) / steps
        answer = {"seconds": elapsed, "loss": loss, "torch": torch.__version__, "threads": torch.get_num_threads()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
