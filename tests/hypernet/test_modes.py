"""Training and evaluation of one primary: dropout, statistics of batches, random streams, and what `freeze` gives."""

import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import hyperlab as hl
from hyperlab.errors import HyperlabError
from hyperlab.hypernet import Primary, pairs

X = jnp.linspace(-1, 1, 24).reshape(6, 4)
GAMMA = jnp.array([0.3])


def keyed(seed, name="dropout"):
    return {"rngs": {name: jax.random.key(seed)}}


class NnxNet(nnx.Module):
    def __init__(self, rngs):
        self.linear, self.norm = nnx.Linear(4, 3, rngs=rngs), nnx.BatchNorm(3, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.dropout(self.norm(self.linear(x)))


class Linen(nn.Module):
    """As most Linen networks are told: by an argument of each call, here one without a default."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.BatchNorm(use_running_average=not train)(nn.Dense(3)(x))
        return nn.Dropout(0.5, deterministic=not train)(x)


class TrainsByDefault(nn.Module):
    @nn.compact
    def __call__(self, x, deterministic=False):
        return nn.Dropout(0.5)(nn.Dense(3)(x), deterministic=deterministic)


class Evaluates(TrainsByDefault):
    @nn.compact
    def __call__(self, x, deterministic=True):
        return nn.Dropout(0.5)(nn.Dense(3)(x), deterministic=deterministic)


class Told(nn.Module):
    """By an attribute."""

    train: bool = True

    @nn.compact
    def __call__(self, x):
        return nn.Dropout(0.5, deterministic=not self.train)(nn.Dense(3)(x))


def haiku_net(x, is_training):
    x = hk.BatchNorm(True, True, 0.9)(hk.Linear(3)(x), is_training)
    return hk.dropout(hk.next_rng_key(), 0.5, x) if is_training else x


def pair_apply(params, x, rng=None, training=True):
    return x @ params * (jax.random.bernoulli(rng, 0.5, (6, 3)) * 2 if training else 1)


PRIMARIES = {
    "nnx": (lambda rngs: NnxNet(rngs), {}),
    "linen, an argument": (Linen(), {"train": False}),
    "linen, trains by default": (TrainsByDefault(), {"deterministic": True}),
    "linen, evaluates by default": (Evaluates(), {}),
    "linen, an attribute": (Told(), {}),
    "haiku": (hk.transform_with_state(haiku_net), {"is_training": True}),
    "pair": ((lambda key, x: jax.random.normal(key, (4, 3)), pair_apply), {}),
}


@pytest.fixture(autouse=True)
def as_other_libraries_compute():
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.parametrize("name", PRIMARIES)
def test_a_network_trains_with_noise_and_evaluates_without(name):
    primary, example = PRIMARIES[name]
    model = hl.hypernetize(primary, X, hidden=(4,), example_kwargs=example)
    variables = model.init(jax.random.key(0))
    training, evaluating = model.train(), model.eval()
    updates = {"mutable": ["batch_stats"]} if name == "linen, an argument" else {}  # Linen wants to be told
    train = [training.apply(variables, GAMMA, X, **keyed(seed), **updates) for seed in (1, 1, 2)]
    train = [outputs for outputs, _ in train] if updates else train
    np.testing.assert_array_equal(train[0], train[1])
    assert not np.array_equal(train[0], train[2])
    answer = evaluating.apply(variables, GAMMA, X)
    np.testing.assert_array_equal(answer, training.eval().apply(variables, GAMMA, X))
    assert not np.array_equal(answer, train[0])
    samples = evaluating.apply_per_sample(variables, jnp.full((6, 1), 0.3), X)
    np.testing.assert_allclose(samples, answer, atol=1e-5)

    # What is frozen evaluates, unless it is asked to train; whatever the model's own mode.
    for frozen in (model, training, evaluating):
        network, theta = frozen.freeze(variables, GAMMA)
        np.testing.assert_allclose(network.apply(theta, X), answer, atol=1e-6)
    network, theta = evaluating.freeze(variables, GAMMA, train=True)
    outputs = network.apply(theta, X, **keyed(1), **updates)
    np.testing.assert_array_equal(outputs[0] if updates else outputs, train[0])


def test_a_call_says_otherwise():
    model = hl.hypernetize(Linen(), X, hidden=(4,), example_kwargs={"train": False})
    variables = model.init(jax.random.key(0))
    expected = model.apply(variables, GAMMA, X, train=True, mutable=["batch_stats"], **keyed(3))
    by_name = model.eval().apply(variables, GAMMA, X, train=True, mutable=["batch_stats"], **keyed(3))
    by_place = model.eval().apply(variables, GAMMA, X, True, mutable=["batch_stats"], **keyed(3))
    jax.tree.map(np.testing.assert_array_equal, expected, by_name)
    jax.tree.map(np.testing.assert_array_equal, expected, by_place)


@pytest.mark.parametrize(
    ("module", "kwargs", "kind"),
    [
        (nn.Dense(3), {}, nn.Dense),  # no mode
        (Evaluates(), {}, Evaluates),  # its own default
        (Told(), {}, Told),  # an attribute, set in a copy
        (TrainsByDefault(), {"deterministic": True}, Primary),  # it would have to be told at every call
    ],
)
def test_a_frozen_linen_module_is_the_module_where_that_evaluates(module, kwargs, kind):
    model = hl.hypernetize(module, X, hidden=(4,), example_kwargs=kwargs)
    network, theta = model.freeze(model.init(jax.random.key(0)), GAMMA)
    assert type(network) is kind and network.apply(theta, X).shape == (6, 3)
    assert not isinstance(network, Told) or not network.train


def test_a_switch_that_is_an_argument_and_an_attribute_is_set_once():
    class Net(nn.Module):
        deterministic: bool | None = None

        @nn.compact
        def __call__(self, x, deterministic=None):
            switch = nn.merge_param("deterministic", self.deterministic, deterministic)
            return nn.Dropout(0.5, deterministic=switch)(nn.Dense(3)(x))

    for module in (Net(), Net(deterministic=False), Net(deterministic=True)):
        kwargs = {} if module.deterministic is not None else {"deterministic": True}
        model = hl.hypernetize(module, X, hidden=(4,), example_kwargs=kwargs)
        variables = model.init(jax.random.key(0))
        answers = [mode.apply(variables, GAMMA, X, **keyed(2)) for mode in (model.train(), model.eval())]
        assert not np.array_equal(*answers)


# -- NNX ----------------------------------------------------------------------------------------------------------


def test_a_frozen_nnx_network_is_a_module_that_holds_theta():
    model = hl.hypernetize(lambda rngs: NnxNet(rngs), X, hidden=(4,))
    variables = model.init(jax.random.key(0))
    _, updated = model.train().apply(variables, GAMMA, X, mutable=["batch_stats"], **keyed(1))
    variables |= updated
    network, theta = model.freeze(variables, GAMMA)
    assert type(network) is NnxNet and network.dropout.deterministic and network.norm.use_running_average
    np.testing.assert_array_equal(network.linear.kernel[...], theta["params"]["linear"]["kernel"])
    np.testing.assert_array_equal(network.norm.mean[...], updated["batch_stats"]["norm"]["mean"])
    np.testing.assert_array_equal(network(X), network.apply(theta, X))

    # The same as the module by itself, filled by hand.
    alone = NnxNet(nnx.Rngs(0))
    state = {**theta["params"], "norm": {**theta["params"]["norm"], **theta["batch_stats"]["norm"]}}
    nnx.update(alone, nnx.State(jax.tree.map(jnp.asarray, state)))
    alone.eval()
    np.testing.assert_allclose(alone(X), network(X), atol=1e-6)

    # It is an ordinary module: compiled (once, whatever the gamma), trained on.
    traces = []

    @nnx.jit
    def call(module, x):
        traces.append(1)
        return module(x)

    for gamma in (GAMMA, GAMMA / 2):
        network, theta = model.freeze(variables, gamma)
        np.testing.assert_allclose(call(network, X), network.apply(theta, X), atol=1e-6)
    assert len(traces) == 1
    network, _ = model.freeze(variables, GAMMA, train=True)
    assert not network.dropout.deterministic and nnx.grad(lambda module: module(X).sum())(network)


def test_a_frozen_module_keeps_an_apply_of_its_own():
    class Own(nnx.Module):
        def __init__(self, rngs):
            self.linear = nnx.Linear(4, 3, rngs=rngs)

        def __call__(self, x):
            return self.linear(x)

        def apply(self):
            return "mine"

    model = hl.hypernetize(lambda rngs: Own(rngs), X, hidden=(4,))
    assert model.freeze(model.init(jax.random.key(0)), GAMMA)[0].apply() == "mine"


class Noisy(nnx.Module):
    """Keeps its streams; `noise` is one that the factory is not told of."""

    def __init__(self, rngs):
        self.linear, self.rngs = nnx.Linear(4, 3, rngs=rngs), rngs

    def __call__(self, x):
        return self.linear(x) + jax.random.normal(self.rngs.noise(), (len(x), 3)) + self.rngs.normal((3,))


class Layers(nnx.Module):
    """Three layers under one scan."""

    def __init__(self, rngs):
        @nnx.split_rngs(splits=3)
        @nnx.vmap(in_axes=(0,), out_axes=0)
        def make(rngs):
            return nnx.Dropout(0.5, rngs=rngs)

        self.linear, self.layers = nnx.Linear(4, 3, rngs=rngs), make(rngs)

    def __call__(self, x):
        @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=(nnx.Carry, 0))
        def forward(x, layer):
            return x, layer(jnp.ones((6, 3)))

        return forward(self.linear(x), self.layers)[1]


@pytest.mark.parametrize(
    ("module", "streams", "others"),
    [(Noisy, ("noise", "default"), ("dropout",)), (Layers, ("dropout",), ("noise",))],
)
def test_streams_are_fixed_until_they_are_reseeded_by_name(module, streams, others):
    model = hl.hypernetize(lambda rngs: module(rngs), X, hidden=(4,))
    variables = model.init(jax.random.key(0))
    still = model.apply(variables, GAMMA, X)
    np.testing.assert_array_equal(still, model.apply(variables, GAMMA, X))
    for name in streams:
        one, same, other = (model.apply(variables, GAMMA, X, **keyed(seed, name)) for seed in (1, 1, 2))
        np.testing.assert_array_equal(one, same)
        assert not np.array_equal(one, other) and not np.array_equal(one, still)
    for name in others:
        np.testing.assert_array_equal(still, model.apply(variables, GAMMA, X, **keyed(1, name)))


def test_layers_under_a_scan_drop_each_in_its_own_way():
    model = hl.hypernetize(lambda rngs: Layers(rngs), X, hidden=(4,))
    variables = model.init(jax.random.key(0))
    for options in ({}, keyed(5)):
        kept = np.asarray(model.apply(variables, GAMMA, X, **options))
        assert len({layer.tobytes() for layer in kept}) == 3


# -- keys of pairs ------------------------------------------------------------------------------------------------

DROPS = hk.transform(lambda x: hk.dropout(hk.next_rng_key(), 0.5, hk.Linear(3)(x)))


def noisy(kind):
    apply = {
        "before the inputs": lambda params, rng, x: x @ params + jax.random.normal(rng, (3,)),
        "by keyword": lambda params, x, *, key=None: x @ params + jax.random.normal(key, (3,)),
        "after the inputs": lambda params, x, rng: x @ params + jax.random.normal(rng, (3,)),
    }[kind]
    return lambda key, x: jax.random.normal(key, (4, 3)), apply


PAIRS = {
    "haiku": DROPS,
    "haiku, its functions": (DROPS.init, DROPS.apply),
    **{kind: noisy(kind) for kind in ("before the inputs", "by keyword", "after the inputs")},
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_takes_one_key_and_says_so_when_it_gets_none(name):
    model = hl.hypernetize(PAIRS[name], X, hidden=(4,))
    variables = model.init(jax.random.key(0))
    one, same, other = (model.apply(variables, GAMMA, X, **keyed(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    rows = model.apply_per_sample(variables, jnp.full((6, 1), 0.3), jnp.ones((6, 4)), **keyed(1, "rng"))
    assert len({row.tobytes() for row in np.asarray(rows)}) > 1  # a key for each sample
    with pytest.raises(HyperlabError, match=r"was given no key; pass rngs=\{'rng': key\}"):
        model.apply(variables, GAMMA, X)
    with pytest.raises(HyperlabError, match=r"takes one key.*\['a', 'b'\]"):
        model.apply(variables, GAMMA, X, rngs={"a": jax.random.key(0), "b": jax.random.key(1)})


@pytest.mark.parametrize(
    ("init", "apply", "expected"),
    [
        (lambda key, x: 0, lambda params, rng, x: 0, ("rng", True)),
        (lambda rng, x: 0, lambda params, key, x, train=True: 0, ("key", True)),
        (lambda key, x: 0, lambda params, x, key=None: 0, ("key", False)),
        (lambda key, x: 0, lambda params, x, *, rng: 0, ("rng", False)),
        (lambda key, x: 0, lambda params, x, rngs=None, key=None: 0, (None, False)),
        # inputs that are called so
        (lambda key, rng, x: 0, lambda params, rng, x: 0, (None, False)),
        (lambda rng, a, b, c: 0, lambda params, key, query, value: 0, (None, False)),
        (lambda rng, query, key, value: 0, lambda params, query, key, value: 0, (None, False)),
        (lambda rng, *inputs: 0, lambda params, key, value: 0, (None, False)),
        (DROPS.init, DROPS.apply, ("rng", True)),
        (DROPS.init, jax.jit(DROPS.apply), ("rng", True)),
        (DROPS.init, hk.without_apply_rng(DROPS).apply, (None, False)),
    ],
)
def test_which_argument_of_a_pair_is_its_key(init, apply, expected):
    convention = pairs.convention_of(init, apply)
    assert (convention.key, convention.before) == expected


def test_a_pair_that_has_no_place_for_what_it_is_given_is_named():
    model = hl.hypernetize((lambda key, x: jnp.ones((4, 3)), lambda params, x: x @ params), X, hidden=(4,))
    variables = model.init(jax.random.key(0))
    with pytest.raises(HyperlabError, match=r"takes no 'rngs'.*arguments are params, x"):
        model.apply(variables, GAMMA, X, **keyed(0))
    with pytest.raises(HyperlabError, match="takes no 'mutable'"):
        model.apply(variables, GAMMA, X, mutable=True)


def test_state_of_haiku_is_a_collection():
    model = hl.hypernetize(PRIMARIES["haiku"][0], X, hidden=(4,), example_kwargs={"is_training": True})
    variables = model.init(jax.random.key(0))
    assert set(variables) == {"params", "state"}
    _, updated = model.train().apply(variables, GAMMA, X, mutable=["state"], **keyed(1))
    before, after = jax.tree.leaves(variables["state"]), jax.tree.leaves(updated["state"])
    assert any(not np.array_equal(one, other) for one, other in zip(before, after, strict=True))
    assert model.eval().apply(variables | updated, GAMMA, X, mutable=["params"])[1] == {}


class Streams(nnx.Module):
    """Takes its streams at each call, as newer layers of NNX do."""

    def __init__(self, rngs):
        self.linear, self.dropout = nnx.Linear(4, 3, rngs=rngs), nnx.Dropout(0.5)

    def __call__(self, x, rngs=None):
        return self.dropout(self.linear(x), rngs=rngs)


@pytest.mark.parametrize("primary", [NnxNet, Streams, TrainsByDefault(), PRIMARIES["pair"][0]])
def test_random_streams_are_given_by_name_as_one_key_or_as_rngs_of_nnx(primary):
    example = {"deterministic": True} if isinstance(primary, nn.Module) else {}
    model = hl.hypernetize(primary, X, hidden=(4,), example_kwargs=example).train()
    variables = model.init(jax.random.key(0))
    name = "rng" if isinstance(primary, tuple) else "dropout"
    answers = [
        model.apply(variables, GAMMA, X, rngs=rngs)
        for rngs in (jax.random.key(1), jax.random.key(1), jax.random.key(2), {name: jax.random.key(1)})
    ]
    np.testing.assert_array_equal(answers[0], answers[1])
    assert not np.array_equal(answers[0], answers[2])
    assert (answers[0] == 0).any() and not (answers[0] == 0).all() and (answers[3] == 0).any()
    from_nnx = model.apply(variables, GAMMA, X, rngs=nnx.Rngs(**{name: 1}))
    assert (from_nnx == 0).any()
    if name == "dropout":
        samples = model.apply_per_sample(variables, jnp.full((6, 1), 0.3), X, rngs=jax.random.key(1))
        assert samples.shape == (6, 3) and (samples == 0).any()


def test_flags_by_place_other_methods_and_all_collections_but_some():
    class Net(nn.Module):
        def setup(self):
            self.dense, self.norm = nn.Dense(3), nn.BatchNorm(use_running_average=None)

        def __call__(self, x, train):
            return self.norm(self.encode(x), use_running_average=not train)

        def encode(self, x):
            return self.dense(x)

    model = hl.hypernetize(Net(), X, False, hidden=(4,))
    variables, gammas = model.init(jax.random.key(0)), jnp.full((6, 1), 0.3)
    expected = model.apply(variables, GAMMA, X, False)
    np.testing.assert_allclose(model.apply_per_sample(variables, gammas, X, False), expected, atol=1e-5)
    hidden = model.apply(variables, GAMMA, X, method="encode")
    np.testing.assert_array_equal(model.eval().apply(variables, GAMMA, X, method="encode"), hidden)
    np.testing.assert_array_equal(model.train().apply(variables, GAMMA, X, method=Net.encode), hidden)
    for mutable in (["batch_stats"], True, nn.DenyList("params")):
        assert "batch_stats" in model.train().apply(variables, GAMMA, X, mutable=mutable)[1]
    with pytest.raises(HyperlabError, match="6 gammas for an input of shape"):
        model.apply_per_sample(variables, gammas, jnp.float32(1))
