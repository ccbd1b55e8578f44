"""Several local processes of one training, for trying what a cluster would do.

    python -m hyperlab.studies.local_sgd.spawn 2 --workdir runs/two [--config FILE] [--config.KEY=VALUE ...]

What follows the number goes to `python -m experiments.local_sgd`. Each process has one CPU device.
"""

import sys
from collections.abc import Sequence

from hyperlab.train import distributed

DAY = 86_400.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Starts the processes and waits for them; returns the first exit code that is not 0."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or not arguments[0].isdigit() or int(arguments[0]) < 1:
        print(__doc__, file=sys.stderr)
        return 2
    if not any(word.lstrip("-").partition("=")[0] == "workdir" for word in arguments):
        print("error: --workdir FOLDER is needed: all processes share it", file=sys.stderr)
        return 2
    command = [sys.executable, "-m", "experiments.local_sgd", "--config.distributed=True", *arguments[1:]]
    done = distributed.launch_local(command, int(arguments[0]), environment={"JAX_PLATFORMS": "cpu"}, timeout=DAY)
    for index, one in enumerate(done):
        for line in (one.stdout + one.stderr).splitlines():
            print(f"[{index}] {line}")
    return next((abs(one.returncode) for one in done if one.returncode), 0)


if __name__ == "__main__":
    raise SystemExit(main())
