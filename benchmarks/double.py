"""The losses of `meshes.py` with every number of the library in twice its precision, as JSON on the last line.

    python benchmarks/double.py NETWORK STEPS

A mesh adds the same numbers in another order. Where training makes the rounding of that grow, the losses of float32
say nothing of whether the mesh computes the same; those of float64 do. `jax.numpy.float32` is another name for
float64 here, from before the library is imported, so that nothing narrows what is computed.
"""

import json
import sys

import jax
import jax.numpy as jnp

if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", True)
    jnp.float32 = jnp.float64

    import meshes

    from hyperlab.data.in_context import pool

    rows = pool._rows  # whose planes are made float32 by NumPy
    pool._rows = lambda planes, places: rows(planes, places).astype(jnp.float64)
    jax.config.update("jax_num_cpu_devices", meshes.DEVICES)
    print(json.dumps(meshes.losses(sys.argv[1], int(sys.argv[2]))))
