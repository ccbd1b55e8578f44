"""The schema of every study: it has every key, allows what is shipped, and refuses what cannot be before any work."""

import functools
from pathlib import Path

import pytest

import hyperlab as hl
from hyperlab import launch, sweep
from hyperlab.errors import ConfigError, HyperlabError
from hyperlab.studies import studies
from hyperlab.train import config as configs
from hyperlab.train import schema

ROOT = Path(__file__).parents[2]
STUDIES = sorted(studies())
FILES = sorted(path for path in (ROOT / "configs").glob("*/*.py") if path.name != "__init__.py")


def config_of(study, **changes):
    return sweep.apply(launch.load_study(study).get_config(), changes)


def fields_of(study):
    return {key: field for fields in launch.load_study(study).SCHEMA.values() for key, field in fields.items()}


@pytest.mark.fast
@pytest.mark.parametrize("study", STUDIES)
def test_every_key_has_a_field_and_every_field_a_key_and_a_meaning(study):
    declared = launch.load_study(study).SCHEMA
    fields = fields_of(study)
    assert set(fields) == set(configs.flat(config_of(study)))
    assert sum(map(len, declared.values())) == len(fields), "a key is declared twice"
    assert all(field.meaning and not field.meaning.endswith(".") for field in fields.values())


@pytest.mark.parametrize("study", STUDIES)
def test_the_default_can_be_run(study):
    launch.check(config_of(study))


@pytest.mark.parametrize("file", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_config_that_is_shipped_can_be_run_once_its_files_are_there(file):
    module = launch.config_module(str(file))
    study = launch.load_study(file.parent.name)
    for config in [
        module.get_config(),
        *(sweep.apply(module.get_config(), row) for row in getattr(module, "sweep", list)()),
    ]:
        schema.check(config, study.SCHEMA)
        study.check(config)


@pytest.mark.parametrize("study", STUDIES)
def test_help_has_a_line_for_every_key(study, capsys):
    launch.main(f"experiments.{study}", ["--help"])
    text = capsys.readouterr().out
    lines = text.split("what they are for:")[1].splitlines()
    assert max(map(len, lines)) <= 100
    for key, value in configs.flat(config_of(study)).items():
        (line,) = [line for line in lines if line.startswith(f"  {key} = ")]
        if isinstance(value, int | float):
            assert f" = {value}" in line


# Refused in every study that has the key, whatever else its config says.
ANYWHERE = {
    "seed": [-1, 2**32, 2**70],
    "data.split_seed": [-1, 2**40],
    "data.limit": [-1],
    "data.queries": [0],
    "data.size": [(0, 0), (32,), (-8, 8)],
    "arms": [(), "twice"],
    "contrasts": ["three", "same", ("mip",)],
    "rates": [(), (-0.1,), (0.0, 0.1), (0.1, 0.1, 0.1), (1e400,)],
    "rates.sgd": [(), (-0.1,), (0.1, 0.1), (1e400,)],
    "parent_rates": [(), (0.0,)],
    "pairwise.rates": [(-1.0,)],
    "tuning_seeds": [0, -1, 101],
    "report_seeds": [0, -3, 10**5],
    "widenings": [-1],
    "workers": [-1],
    "batch_size": [0, -8, 2**40],
    "train_length": ["0 steps", "-5 steps", "1e400 steps", "soon", "", "1e12 steps"],
    "task_length": ["0 epochs"],
    "tuning_length": ["0 steps"],
    "parent_length": ["1e400 epochs"],
    "length": ["0 examples"],
    "evaluate_every": [0],
    "steps_per_call": [0],
    "checkpoint_every": [-40],
    "curve_points": [0],
    "evaluation_batch": [0],
    "keep_networks": [-1],
    "optimizer": ["adamm"],
    "optimizer.name": ["rmsprop"],
    "optimizer.weight_decay": [-0.1],
    "optimizer.momentum": [1.0],
    "optimizer.schedule": ["cosin"],
    "hypernet.hidden": [(0,), (-4, 8)],
    "hypernet.activation": ["swish"],
    "primary.widths": [(), (0, 8)],
    "network.widths": [(0,)],
    "network.width": [0.0, -1.0],
    "network.dropout": [1.0],
    "network.normalization": ["layer"],
    "augmentation": ["both"],
}
# What belongs to one study: (study, changes, what the message says).
ALONE = [
    ("stability", {"task": "classify"}, "task: unknown task 'classify'; did you mean 'classification'"),
    ("stability", {"optimizers": ("sgd", "sgd")}, "optimizers is .*different"),
    ("stability", {"gamma.prior": "gauss"}, r"gamma\.prior: unknown prior"),
    ("stability", {"gamma.dim": 0}, r"gamma\.dim is 0"),
    ("stability", {"gamma.low": 1.0}, r"gamma\.low \(1\.0\) must be below gamma\.high"),
    ("stability", {"samples": 0}, "samples is 0"),
    ("stability", {"target_score": 1.5}, "target_score is 1.5, expected a number from 0 to 1"),
    ("stability", {"evaluate_every": 7}, "must divide steps_per_call"),
    ("stability", {"train_length": "100 examples", "batch_size": 2}, "train_length .50 steps."),
    ("stability", {"task": "rescaling", "gamma.dim": 2}, "one uniform number"),
    ("stability", {"task": "registration", "registration.network.decoder": (8,)}, r"^registration.network.decoder is"),
    ("stability", {"task": "registration", "rescaling.data.root": "."}, "reads registration.data.root"),
    ("stability", {"task": "rescaling", "data.root": "."}, "the task 'rescaling' reads rescaling.data.root"),
    ("rescaling", {"factors": ()}, "factors is .*one or more different numbers above 0 and at most 1"),
    ("rescaling", {"outside": (1.5,)}, "outside is"),
    ("rescaling", {"prior.kind": "normal"}, r"prior\.kind: unknown prior"),
    ("rescaling", {"prior.low": 0.4, "prior.high": 0.3}, "low below high"),
    ("rescaling", {"primary.skip": "sum"}, r"primary\.skip: unknown skip|primary\.skip"),
    ("rescaling", {"data.difficulty": 2.0}, r"data\.difficulty is 2"),
    ("rescaling", {"data.size": (2, 2)}, "smaller than"),
    ("rescaling", {"programs": 0}, "programs is 0"),
    ("registration", {"weights": (1.0,)}, "weights is .*from 0 to below 1"),
    ("registration", {"network.field_downsize": 3}, r"network\.field_downsize is 3"),
    ("registration", {"network.decoder": (8,)}, r"network\.decoder is \(8,\), expected as many"),
    ("registration", {"loss.similarity": "ncc", "loss.window": 8}, r"loss\.window is 8, expected an odd"),
    ("registration", {"loss.sigma": 0.0}, r"loss\.sigma is 0"),
    ("registration", {"data.noise": -0.1}, r"data\.noise is -0\.1"),
    ("registration", {"data.task": "subjects"}, "synthetic set is 'warps'"),
    ("registration", {"steps_per_call": 7}, "must divide train_length"),
    ("in_context", {"support_sizes": (0, 4)}, "support_sizes is"),
    ("in_context", {"ensembles": ()}, "ensembles is"),
    ("in_context", {"data.generated": ("body",)}, r"data\.generated: unknown generated set 'body'"),
    ("in_context", {"data.size": (32, 48)}, "equal sides"),
    ("in_context", {"data.store": "/nowhere"}, r"data\.store is '/nowhere', which is no folder"),
    ("stochastic", {"candidates": (1,)}, "no diversity"),
    ("stochastic", {"smoothness": ()}, "smoothness is"),
    ("stochastic", {"network.unet_widths": (8,)}, "2 or more"),
    ("pruning", {"compressions": (1.0, 4.0)}, "compressions is .*above 1"),
    ("pruning", {"compared": (3.0,)}, "3 is compared or tuned at, but not in compressions"),
    ("pruning", {"rewind_to": 1.5}, "rewind_to is"),
    ("pruning", {"masks_until": 0.0}, "masks_until is"),
    ("pruning", {"network.kind": "resnet", "network.depth": 20}, "depth 20; expected one of"),
    ("pruning", {"network.kind": "cifar_resnet", "network.depth": 21}, r"depth 21; expected 6n \+ 2"),
    ("pruning", {"published.dataset": "CIFAR10"}, "no published results on 'CIFAR10 / '"),
    ("pruning", {"task": "in_context", "data.root": "."}, "reads tasks.store"),
    ("pruning", {"tasks.store": "."}, "reads data.root"),
    ("pruning", {"task": "scale_space", "data.name": "shapes", "scale_space.factors": (0.9,)}, "scale_space.factors"),
    ("pruning", {"task": "in_context_scales", "tasks.factors": (0.3,)}, "multiples of 4"),
    ("local_sgd", {"rates": (0.5, 0.005)}, "range of 'rate'.*two rising numbers"),
    ("local_sgd", {"rates": (0.1,)}, "rates is .*expected 2 numbers above 0"),
    ("local_sgd", {"replicas": (0,)}, "replicas is"),
    ("local_sgd", {"warmup": -0.1}, "warmup is"),
    ("local_sgd", {"decay_at": (0.9, 0.3)}, "decay_at is .*rising"),
    ("local_sgd", {"cost.latency": -1.0}, r"cost\.latency is"),
    ("local_sgd", {"single.arm": "lokal"}, r"single\.arm: unknown arm 'lokal'"),
    ("local_sgd", {"single.seed": 2**32}, r"single\.seed is"),
    ("local_sgd", {"distributed": 3}, "distributed is 3, expected True, False or None"),
    ("local_sgd", {"data.partition.alpha": 0.0}, r"data\.partition\.alpha is"),
    ("local_sgd", {"folder.validation": 1.0}, r"folder\.validation is"),
    ("local_sgd", {"task": "image_folder"}, "needs data.root"),
    ("local_sgd", {"task": "image_folder", "data.root": "/nowhere"}, "/nowhere/train is no folder"),
    ("uncertainty", {"dropout_rates": (0.0,)}, "dropout_rates is"),
    ("uncertainty", {"train_shares": (0.5,)}, "1 among them"),
    ("uncertainty", {"draws": (10, 5)}, "draws is .*rising"),
    ("uncertainty", {"members": 1}, "members is 1"),
    ("uncertainty", {"bayesian.encoding": "cosin"}, "unknown encoding 'cosin'"),
    ("uncertainty", {"judging.map": "entropy"}, r"judging\.map: unknown map"),
    ("uncertainty", {"judging.removed": 1.0}, r"judging\.removed is"),
    ("uncertainty", {"data.severities": (0, 2)}, r"data\.severities is .*from 1 to 5"),
    ("uncertainty", {"contrasts": ("spatial - none",)}, "'metric: first - second'"),
]  # fmt: skip


def refused(study, changes, message, tmp_path):
    config = config_of(study, **changes)
    with pytest.raises(HyperlabError, match=message):
        hl.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("study", STUDIES)
def test_what_no_study_can_use_is_refused_with_its_key(study):
    default = configs.plain(config_of(study))
    arm = default["arms"][0]
    named = {"twice": (arm, arm), "same": (f"{arm} - {arm}",), "three": (f"{arm} - {arm} - {arm}",)}
    for key, values in ANYWHERE.items():
        *groups, last = key.split(".")
        owner = functools.reduce(lambda group, name: group.get(name, {}), groups, default)
        if last not in owner or isinstance(owner[last], dict):
            continue
        kept = owner[last]
        for value in values:
            owner[last] = named.get(value, value) if isinstance(value, str) else value
            with pytest.raises(ConfigError, match=rf"^{key}(:| is )"):
                launch.check(default)
        owner[last] = kept
    launch.check(config_of(study))


@pytest.mark.parametrize(("study", "changes", "message"), ALONE)
def test_what_a_study_cannot_use_is_refused_and_nothing_is_made(study, changes, message, tmp_path):
    refused(study, changes, message, tmp_path)


@pytest.mark.parametrize(
    ("study", "changes", "message"),
    [
        ("stability", {"data.root": "FOLDER"}, "data.name is 'digits', which reads no files; mnist, fashion_mnist"),
        ("stability", {"data.root": "IDX"}, "looks like mnist: --config.data.name=mnist"),
        ("stability", {"data.root": "/nowhere"}, "and there is no such folder"),
        ("stability", {"data.name": "mnist"}, "IDX files; name their folder, for instance --config.data.root=DIR"),
        ("stability", {"data.name": "mnist", "data.root": "/nowhere"}, "'/nowhere', which does not exist"),
        ("stability", {"data.name": "shapes"}, "a class a pixel"),
        ("stability", {"task": "rescaling", "rescaling.data.name": "wbc"}, "--config.rescaling.data.root=DIR"),
        ("rescaling", {"data.root": "NNUNET"}, "looks like nnunet: --config.data.name=nnunet"),
        ("rescaling", {"data.name": "digits"}, "one class an image"),
        ("registration", {"data.root": "FOLDER"}, "data.name is 'synthetic', which reads no files; brain_t1_ptbp, msd"),
        ("registration", {"data.name": "msd_hippocampus", "data.task": "subjects"}, "--config.data.root=DIR"),
        ("pruning", {"data.root": "FOLDER"}, "which reads no files"),
        ("local_sgd", {"data.root": "FOLDER"}, "which reads no files"),
        ("uncertainty", {"data.root": "NNUNET"}, "looks like nnunet"),
        ("uncertainty", {"data.name": "parasite"}, "unknown data set 'parasite'; did you mean 'parasites'"),
        ("uncertainty", {"data.name": "wbc", "data.borders": (2.0,)}, "borders is for 'parasites'"),
    ],
)
def test_a_folder_and_the_name_of_its_set_go_together(study, changes, message, tmp_path):
    folders = {name: tmp_path / name for name in ("FOLDER", "IDX", "NNUNET")}
    for folder in folders.values():
        folder.mkdir()
    (folders["IDX"] / "train-images-idx3-ubyte.gz").touch()
    (folders["NNUNET"] / "dataset.json").write_text('{"channel_names": {"0": "a"}, "labels": {"background": 0}}')
    refused(study, {key: str(folders.get(value, value)) for key, value in changes.items()}, message, tmp_path)


def test_print_config_checks_what_a_run_checks(capsys):
    launch.main("experiments.stability", ["--print_config", "--config.seed=3"])
    assert '"seed": 3' in capsys.readouterr().out
    for argument in ("--config.evaluate_every=7", "--config.data.root=/nowhere", "--config.report_seeds=0"):
        with pytest.raises(SystemExit) as ended:
            launch.main("experiments.stability", ["--print_config", argument])
        printed = capsys.readouterr()
        assert ended.value.code == 2 and printed.err.startswith("error: ") and not printed.out
