#!/usr/bin/env bash
# orbax-checkpoint 0.12.8: host arrays that process 1 saves for itself are not written, and the save ends well.
#
# Sworn: with MultiprocessingOptions(primary_host=1, active_processes={1}) process 1 writes what it is given to save, or
# says that it cannot.
# Seen: the handlers of numpy arrays, numbers and strings write where jax.process_index() is 0, whatever the options say.
# In process 1 the checkpoint is committed, is listed as the latest step, and holds JSON items and no array; only
# restoring it fails. The same lines in process 0 write all of it. (Device arrays of one process are refused in words.)
#
# Output on the day this was written:
#   process 0: step 3 is listed; state comes back: [0. 1. 2. 3.]
#   process 1: step 3 is listed; state cannot be restored: ValueError
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q orbax-checkpoint==0.12.8 jax==0.10.2 tensorstore==0.1.86
cd "$work"
cat > saves.py <<'P'
import sys
from pathlib import Path

import jax
import numpy as np

port, index = sys.argv[1], int(sys.argv[2])
jax.distributed.initialize(f"127.0.0.1:{port}", 2, index)
import orbax.checkpoint as ocp

own = ocp.options.MultiprocessingOptions(
    primary_host=index, active_processes={index}, barrier_sync_key_prefix=f"own-{index}"
)
handlers, handler = ocp.handlers.DefaultCheckpointHandlerRegistry(), ocp.StandardCheckpointHandler(multiprocessing_options=own)
for args in (ocp.args.StandardSave, ocp.args.StandardRestore):
    handlers.add("state", args, handler)
folder = Path(str(index)).absolute()
folder.mkdir()
options = ocp.CheckpointManagerOptions(
    create=False, enable_async_checkpointing=False, multiprocessing_options=own
)


def manager():
    return ocp.CheckpointManager(folder, options=options, handler_registry=handlers)


with manager() as saving:
    saving.save(3, args=ocp.args.Composite(state=ocp.args.StandardSave({"w": np.arange(4.0)})))
    saving.wait_until_finished()
with manager() as reading:
    try:
        restored = reading.restore(3, args=ocp.args.Composite(state=ocp.args.StandardRestore({"w": np.zeros(4)})))
        state = f"comes back: {restored['state']['w']}"
    except Exception as error:
        state = f"cannot be restored: {type(error).__name__}"
    print(f"process {index}: step {reading.latest_step()} is listed; state {state}", flush=True)
P
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
for index in 0 1; do
  JAX_PLATFORMS=cpu "$work/venv/bin/python" saves.py "$port" "$index" >"said.$index" 2>"errors.$index" &
done
wait
grep -h '^process' said.0 said.1 | tee "$work/out"
diff "$work/out" - <<'O'
process 0: step 3 is listed; state comes back: [0. 1. 2. 3.]
process 1: step 3 is listed; state cannot be restored: ValueError
O
echo "as found"
