"""A large scan through windows: memory and seconds of `load_network(...).predict`, beside MONAI's sliding window.

    pip install '.[bench,medical]'
    python benchmarks/sliding_window.py [--shape 512 512 300] [--spacing 1 1 1] [--repeats 1] [--record]

Both read the same NIfTI file in a process of its own, normalise it, and take the same 3D U-Net over windows of the same
size and overlap with Gaussian weights; labels are compared. With --spacing, ours brings the scan to 1 mm and the labels
back, which MONAI's function leaves to its caller.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import common
import numpy as np

WINDOW, OVERLAP, BATCH, CLASSES, LEVELS, FEATURES = 96, 0.25, 1, 3, 3, 8
MOST = 2.5  # GB
TARGET = 0.8


def main() -> int:
    parser = common.arguments(__doc__, repeats=1)
    parser.add_argument("--shape", type=int, nargs=3, default=(512, 512, 300), help="of the scan")
    parser.add_argument("--spacing", type=float, nargs=3, default=(1.0, 1.0, 1.0), help="of the scan, in mm")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        made(folder, options.shape, options.spacing)
        turns: dict[str, list[dict]] = {"hyperlab": [], "monai": []}
        for _ in range(options.repeats):
            for name in turns:
                command = [sys.executable, __file__, name, str(folder)]
                turns[name].append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
        ours, theirs = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in turns)
        agree = float((ours == theirs).mean())
    for name, each in turns.items():
        shown = ", ".join(f"{one['seconds']:.0f} s and {one['peak'] / 1e9:.2f} GB" for one in each)
        print(f"{name}: {shown}")
    times = {name: [one["seconds"] for one in each] for name, each in turns.items()}
    peak = max(one["peak"] for one in turns["hyperlab"])
    print(f"labels equal in {agree:.5%} of the voxels; peak {peak / 1e9:.2f} GB, target {MOST}: ", end="")
    print("met" if peak <= MOST * 1e9 else "not met")
    found = common.verdict(common.ratio(times, "hyperlab", "monai"), TARGET) if options.repeats > 1 else None
    if found is None:
        print(f"hyperlab / monai: {times['hyperlab'][0] / times['monai'][0]:.2f}, target {TARGET}")
    settings = {"shape": options.shape, "spacing": options.spacing, "window": WINDOW, "overlap": OVERLAP}
    common.report("sliding_window", settings, {"turns": turns, "equal": agree, "ratio": found}, options.record)
    return 0


def made(folder: Path, shape: list[int], spacing: list[float]) -> None:
    """The scan and the network, in files."""
    import jax
    import nibabel

    unet = network()
    variables = unet.init(jax.random.key(0), np.zeros((1, 16, 16, 16, 1), np.float32))["params"]
    arrays = {
        f"{layer}/{name}": np.asarray(leaf) for layer, leaves in variables.items() for name, leaf in leaves.items()
    }
    np.savez(folder / "network.npz", **arrays)
    rng = np.random.default_rng(0)
    values = np.empty(shape, np.float32)
    for plane in values:
        plane[...] = rng.normal(size=shape[1:])
        plane[1:] += 0.9 * plane[:-1]
    nibabel.save(nibabel.Nifti1Image(values, np.diag([*spacing, 1.0])), folder / "scan.nii")


def network():
    """Of both."""
    from networks import UNet

    return UNet(LEVELS, FEATURES, CLASSES)


def hyperlab(folder: Path) -> np.ndarray:
    """As `hyperlab predict` does it."""
    from hyperlab.data.prepared import Channel, Preprocessing, Windowed
    from hyperlab.inference.network import Card, Network

    variables: dict = {}
    for path, leaf in np.load(folder / "network.npz").items():
        layer, name = path.split("/")
        variables.setdefault(layer, {})[name] = leaf
    classes = tuple(f"class {number}" for number in range(CLASSES))
    how = Preprocessing((Channel("T1", "z_score"),), 3, (1.0, 1.0, 1.0), classes, tuple(range(CLASSES)))
    windowed = Windowed(how, (WINDOW,) * 3)
    card = Card("none", "unet", 0, classes, None, windowed.record())

    def apply(given, images):
        return network().apply({"params": given}, images)

    made = Network(apply, variables, windowed, card, batch=BATCH, overlap=OVERLAP)
    return made.predict(folder / "scan.nii")


def monai(folder: Path) -> np.ndarray:
    """As MONAI's bundles do it: the image, the answer and its weights whole in memory."""
    import nibabel
    import torch
    from monai.inferers import sliding_window_inference
    from monai.transforms import NormalizeIntensity

    arrays = {
        path: torch.tensor(leaf.transpose(4, 3, 0, 1, 2).copy() if leaf.ndim == 5 else leaf)
        for path, leaf in np.load(folder / "network.npz").items()
    }
    conv, pool, larger = torch.nn.functional.conv3d, torch.nn.functional.max_pool3d, torch.nn.functional.interpolate

    def block(x, name):
        for index in range(2):
            layer = f"{name}_{index}"
            x = conv(x, arrays[f"{layer}/kernel"], arrays[f"{layer}/bias"], padding=1)
            x = torch.nn.functional.leaky_relu(x, 0.01)
        return x

    def unet(x):
        skips = []
        for level in range(LEVELS - 1):
            skips.append(block(x, f"down_{level}"))
            x = pool(skips[-1], 2)
        x = block(x, "bottom")
        for level in reversed(range(LEVELS - 1)):
            x = block(torch.cat([larger(x, scale_factor=2), skips[level]], 1), f"up_{level}")
        return conv(x, arrays["logits/kernel"], arrays["logits/bias"])

    values = np.asarray(nibabel.load(folder / "scan.nii").dataobj, np.float32)
    image = NormalizeIntensity()(torch.from_numpy(values)[None])[None]
    with torch.inference_mode():
        answer = sliding_window_inference(
            torch.as_tensor(image), (WINDOW,) * 3, BATCH, lambda x: torch.softmax(unet(x), 1), OVERLAP, "gaussian"
        )
    return answer.argmax(1)[0].numpy().astype(np.int32)


def child(name: str, folder: str) -> None:
    """One side: seconds from the file to the labels, and the most memory of the process."""
    import time

    start = time.perf_counter()
    labels = {"hyperlab": hyperlab, "monai": monai}[name](Path(folder))
    answer = {"seconds": time.perf_counter() - start, "peak": common.resident("VmHWM")}
    np.save(Path(folder) / f"{name}.npy", labels)
    print(json.dumps(answer))


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] in ("hyperlab", "monai"):
        child(*sys.argv[1:])
    else:
        sys.exit(main())
