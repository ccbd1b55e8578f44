"""Does nnU-Net's own evaluation read predicted masks, and find the Dice that `hyperlab predict --labels` printed?

    python -m venv nnunet && nnunet/bin/pip install nnunetv2==2.8.1
    hyperlab predict RUN --images SET/imagesTs --labels SET/labelsTs --out PREDICTIONS
    python benchmarks/nnunet_evaluation.py SET PREDICTIONS --nnunet nnunet

SET is an nnU-Net folder with `labelsTs`. Both sides read the same files; each Dice of a case and class, the mean of
each class and the mean of these are compared. Code 1: they differ by more than 1e-6.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

MOST = 1e-6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", metavar="SET", type=Path, help="an nnU-Net folder with labelsTs")
    parser.add_argument("predictions", metavar="PREDICTIONS", type=Path, help="what predict --labels wrote")
    parser.add_argument("--nnunet", metavar="DIR", type=Path, required=True, help="a virtual environment with nnunetv2")
    parser.add_argument("--labels", metavar="NAME", default="labelsTs", help="folder of the masks in SET")
    given = parser.parse_args()
    ours = pd.read_csv(given.predictions / "per_case.csv").pivot(index="case", columns="class", values="value")
    labels = json.loads((given.dataset / "dataset.json").read_text())["labels"]
    theirs = evaluated(given)
    cases = {Path(one["prediction_file"]).name.partition(".")[0]: one["metrics"] for one in theirs["metric_per_case"]}
    if cases.keys() != set(ours.index):
        raise SystemExit(f"nnU-Net evaluated {len(cases)} cases, per_case.csv has {len(ours)}")
    worst = 0.0
    for name in ours.columns:
        dice = np.array([cases[case][str(labels[name])]["Dice"] for case in ours.index], float)
        apart = np.nanmax(np.abs(dice - ours[name].to_numpy()))
        undefined = (np.isnan(dice) != ours[name].isna()).sum()
        mean, found = theirs["mean"][str(labels[name])]["Dice"], ours[name].mean()
        worst = max(worst, apart, abs(mean - found), float(undefined))
        print(f"{name}: nnU-Net {mean:.8f}, here {found:.8f}; cases at most {apart:.1e} apart, {undefined} undefined")
    overall, found = theirs["foreground_mean"]["Dice"], ours.mean().mean()
    worst = max(worst, abs(overall - found))
    print(f"foreground: nnU-Net {overall:.8f}, here {found:.8f}; {len(cases)} cases, at most {worst:.1e} apart")
    return int(not worst <= MOST)


def evaluated(given: argparse.Namespace) -> dict:
    """What `nnUNetv2_evaluate_folder` writes; of the plans it reads the kind of files alone."""
    with tempfile.TemporaryDirectory() as scratch:
        plans, out = Path(scratch, "plans.json"), Path(scratch, "summary.json")
        plans.write_text(json.dumps({"image_reader_writer": "SimpleITKIO"}))
        command = [given.nnunet / "bin" / "nnUNetv2_evaluate_folder", given.dataset / given.labels, given.predictions]
        command += ["-djfile", given.dataset / "dataset.json", "-pfile", plans, "-o", out, "-np", "1"]
        subprocess.run(list(map(str, command)), check=True)
        return json.loads(out.read_text())


if __name__ == "__main__":
    sys.exit(main())
