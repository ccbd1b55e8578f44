"""Seeds that would draw what another seed draws are refused wherever one is given."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hyperlab as hl
from hyperlab import data, in_context, seeds
from hyperlab.data.splits import permutation
from hyperlab.errors import ConfigError
from hyperlab.studies import search

pytestmark = pytest.mark.fast

IMAGES, LABELS = np.zeros((2, 16, 16)), np.ones((2, 16, 16), int)


@pytest.mark.parametrize("seed", [0, 7, seeds.LARGEST, np.uint32(seeds.LARGEST), np.int64(3)])
def test_a_seed_of_32_bits_comes_back(seed):
    assert seeds.check_seed(seed) == int(seed) == seeds.typed(str(seed))


def test_the_largest_seed_has_a_key_of_its_own_and_the_next_would_not():
    # jax 0.10.2 without x64: the key of 2**32 is that of 0
    assert (jax.random.key_data(jax.random.key(seeds.LARGEST)) != jax.random.key_data(jax.random.key(0))).any()


@pytest.mark.parametrize(
    "call",
    [
        seeds.check_seed,
        lambda seed: data.load("digits", split_seed=seed),
        lambda seed: hl.diagnose(hl.hypernetize(nn.Dense(2), jnp.zeros((1, 2))), seed=seed),
        lambda seed: hl.segment(IMAGES, IMAGES, LABELS, {}, module=lambda *_: None, seed=seed),
        lambda seed: in_context.fit(IMAGES, LABELS, seed=seed),
        lambda seed: search.draw({"rate": search.Axis(0.1, 1.0)}, 2, seed),
    ],
    ids=["check", "load", "diagnose", "segment", "fit", "draw"],
)
@pytest.mark.parametrize("seed", [-1, 2**32, 2**70, 0.5, True])
def test_others_are_refused(call, seed):
    with pytest.raises(ConfigError, match="seed is .*, expected a whole number from 0 to 4294967295"):
        call(seed)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_words_of_a_philox_are_those_of_one_seed(seed):
    with pytest.raises(ConfigError, match=r"seed is .*2\*\*64"):
        permutation(5, seed)


@pytest.mark.parametrize("module", ["experiments.segment", "experiments.segment_uncertain", "hyperlab.data.build"])
@pytest.mark.parametrize("seed", ["-1", "4294967296", "1e3"])
def test_command_lines_refuse_them_too(module, seed, capsys):
    import importlib

    with pytest.raises(SystemExit) as ended:
        importlib.import_module(module).main([f"--seed={seed}", "--out", "x"])
    assert ended.value.code == 2
    assert f"argument --seed: '{seed}', expected a whole number from 0 to 4294967295" in capsys.readouterr().err
