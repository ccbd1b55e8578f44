#!/usr/bin/env bash
# orbax-checkpoint 0.12.8: two processes of one run, each with checkpoints of its own, get in each other's way.
#
# Sworn: with MultiprocessingOptions(primary_host=i, active_processes={i}, barrier_sync_key_prefix=...) a process saves for
# itself, and no other has a part in it.
# Seen: the signals by which an asynchronous save waits for its folder are in the key-value store that all processes of
# jax.distributed share, under the number of the save, which each process counts for itself from 0; the prefix is not in
# them, and a save that ends removes those of its number. So one process takes the other's signal for its own and writes
# before its folder is there (FileNotFoundError), or waits for one that was removed, up to the timeout of some minutes.
# Synchronous saves (enable_async_checkpointing=False) use no signals, and all are written.
#
# Output on the day this was written:
#   asynchronous: some saves fail
#   synchronous: none of 400 saves fail
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q orbax-checkpoint==0.12.8 jax==0.10.2 tensorstore==0.1.86
cd "$work"
cat > saves.py <<'P'
import os
import sys
import time
from pathlib import Path

import jax
import numpy as np

how, port, index = sys.argv[1], sys.argv[2], int(sys.argv[3])
jax.distributed.initialize(f"127.0.0.1:{port}", 2, index)
import orbax.checkpoint as ocp

own = ocp.options.MultiprocessingOptions(
    primary_host=index, active_processes={index}, barrier_sync_key_prefix=f"own-{index}"
)
handlers = ocp.handlers.DefaultCheckpointHandlerRegistry()
state = ocp.StandardCheckpointHandler(multiprocessing_options=own)
meta = ocp.JsonCheckpointHandler(multiprocessing_options=own)
for save, restore, handler, item in (
    (ocp.args.StandardSave, ocp.args.StandardRestore, state, "state"),
    (ocp.args.JsonSave, ocp.args.JsonRestore, meta, "meta"),
):
    handlers.add(item, save, handler)
    handlers.add(item, restore, handler)
folder = Path(how, str(index)).absolute()
folder.mkdir(parents=True)
options = ocp.CheckpointManagerOptions(
    create=False,
    max_to_keep=1,
    enable_async_checkpointing=how == "asynchronous",
    multiprocessing_options=own,
    async_options=ocp.AsyncOptions(timeout_secs=4),
)
manager = ocp.CheckpointManager(folder, options=options, handler_registry=handlers)
failed = Path(how, "failed")
Path(how, f"ready {index}").touch()
while not Path(how, f"ready {1 - index}").exists():
    time.sleep(0.01)
begun = time.time()
for step in range(200):
    time.sleep(max(0.0, begun + 0.2 * step - time.time()))  # both begin their saves at about the same time
    items = ocp.args.Composite(
        state=ocp.args.StandardSave({"w": np.ones(64)}), meta=ocp.args.JsonSave({"step": step})
    )
    try:
        manager.save(step, args=items, force=True)
        manager.wait_until_finished()
    except Exception:
        failed.touch()
    if failed.exists():
        break
Path(how, f"done {index}").touch()
for _ in range(200):  # an end of one process ends the other, which may be waiting for a signal
    if Path(how, f"done {1 - index}").exists():
        break
    time.sleep(0.1)
os._exit(0)
P
for how in asynchronous synchronous; do
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  for index in 0 1; do
    JAX_PLATFORMS=cpu "$work/venv/bin/python" saves.py "$how" "$port" "$index" >"$how.$index" 2>&1 &
  done
  wait
  if [ -e "$how/failed" ]; then echo "$how: some saves fail"; else echo "$how: none of 400 saves fail"; fi
done | tee "$work/out"
diff "$work/out" - <<'O'
asynchronous: some saves fail
synchronous: none of 400 saves fail
O
echo "as found"
