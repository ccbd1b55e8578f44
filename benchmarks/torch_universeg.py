"""The child process of `in_context.py`: UniverSeg by naive pairing in PyTorch, run eagerly.

It imports nothing but torch and numpy, so that any Python that has torch can run it. Each line on standard input
asks for a forward pass; the answer is one line of JSON.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

SLOPE = 0.01  # of the leaky ReLU, as in the JAX network
Layers = dict[str, torch.Tensor]


def universeg(layers: Layers, target: torch.Tensor, support: torch.Tensor) -> torch.Tensor:
    """Logits `[batch, 1, height, width]` from `[batch, set, channel, height, width]`: target, and examples."""
    levels = sum(name.startswith("enc_") and name.endswith("cross/bias") for name in layers)
    skips = []
    for level in range(levels):
        target, support = block(layers, f"enc_{level}", target, support)
        if level < levels - 1:
            skips.append((target, support))
            target, support = (over_set(F.max_pool2d, images, 2) for images in (target, support))
    for index in range(levels - 1):
        both = zip((target, support), skips.pop(), strict=True)
        target, support = (torch.cat([over_set(doubled, below), skip], 2) for below, skip in both)
        target, support = block(layers, f"dec_{index}", target, support)
    return F.conv2d(target[:, 0], layers["head/kernel"], layers["head/bias"])


def block(layers: Layers, name: str, target: torch.Tensor, support: torch.Tensor) -> tuple:
    """Each pair is concatenated and convolved; the mean and the pairs are convolved on."""
    pairs = torch.cat([target.expand(-1, support.shape[1], -1, -1, -1), support], 2)
    crossed = convolved(layers, f"{name}/cross", pairs)
    results = (
        F.leaky_relu(convolved(layers, f"{name}/{side}", images), SLOPE)
        for side, images in (("target", crossed.mean(1, keepdim=True)), ("support", crossed))
    )
    return tuple(results)


def convolved(layers: Layers, name: str, images: torch.Tensor) -> torch.Tensor:
    return over_set(F.conv2d, images, layers[f"{name}/kernel"], layers[f"{name}/bias"], padding=1)


def doubled(images: torch.Tensor) -> torch.Tensor:
    return F.interpolate(images, scale_factor=2, mode="bilinear", align_corners=True)


def over_set(function, images: torch.Tensor, *args, **options) -> torch.Tensor:
    out = function(images.flatten(0, 1), *args, **options)
    return out.unflatten(0, images.shape[:2])


def peak_mib() -> float:
    """The most memory that this process has held."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main(path: str, threads: str, device: str) -> None:
    torch.set_num_threads(int(threads))
    arrays = dict(np.load(path))
    inputs = [np.moveaxis(arrays.pop(name), -1, -3) for name in ("target", "support_images", "support_labels")]
    target, images, labels = (torch.tensor(value.copy()).to(device) for value in inputs)
    layers = {
        name: torch.tensor((value.transpose(3, 2, 0, 1) if value.ndim == 4 else value).copy()).to(device)
        for name, value in arrays.items()
    }
    before = peak_mib()
    print(json.dumps("ready"), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        with torch.inference_mode():
            logits = universeg(layers, target[:, None], torch.cat([images, labels], 2)).cpu()  # waits for the device
        answer = {"seconds": time.perf_counter() - start, "logits": logits[:, 0, ::16, ::16].tolist()}
        answer |= {"torch": torch.__version__, "threads": torch.get_num_threads(), "peak_mib": peak_mib() - before}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
