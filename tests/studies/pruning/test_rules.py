import pytest

from hyperlab.studies.pruning.record import (
    PRUNED_CONTROLS,
    SAMPLE_SD,
    UNPRUNED_CONTROLS,
    DataSet,
    PrunedCurve,
    StudyRecord,
)
from hyperlab.studies.pruning.rules import (
    MET,
    NOT_APPLICABLE,
    NOT_MET,
    RULES,
    check,
    standard_suite,
    suite_label,
    table,
)

pytestmark = pytest.mark.fast

NETWORKS = (("cifar10", "ResNet-20"), ("cifar10", "VGG"), ("tiny_imagenet", "ResNet-18"))
SEEDS = (0, 1, 2)


def curve(dataset, architecture, method, **changes):
    parents = tuple(f"{dataset} {architecture} {seed}" for seed in SEEDS)
    made = PrunedCurve(
        dataset, architecture, method, "trained", architecture, parents, "recipe", (2, 4, 8, 16, 32), SEEDS
    )
    return made._replace(**changes)


def exemplary():
    """A study that meets every rule."""
    return StudyRecord(
        datasets=(DataSet("cifar10", "v1", "0", 10), DataSet("tiny_imagenet", "v1", "0", 200)),
        curves=tuple(curve(*network, method) for network in NETWORKS for method in ("magnitude", "random")),
        metrics_version="1",
        top=(1, 5),
        columns=("compression_ratio", "theoretical_speedup", "top1", "latency_ms"),
        panels=("compression", "speedup"),
        mac_convention="multiply-add = 1",
        macs_counted=True,
        controls=(*UNPRUNED_CONTROLS, *PRUNED_CONTROLS),
        spread=SAMPLE_SD,
        parent_scores=tuple(" / ".join(network) for network in NETWORKS),
        older_work=("Ash 2031",),
        labelled_theoretical=True,
        latency_device="a CPU",
    )


def outcomes(record):
    return {verdict.rule: verdict.outcome for verdict in check(record)}


def with_first(record, **changes):
    return record._replace(curves=(record.curves[0]._replace(**changes), *record.curves[1:]))


def test_all_fourteen_rules_are_decided_with_a_reason():
    verdicts = check(exemplary())
    assert [v.rule for v in verdicts] == [f"E{number}" for number in range(1, 15)]
    assert {v.outcome for v in verdicts} == {MET} and all(v.reason for v in verdicts)
    assert table(verdicts).shape == (14, 4)


def test_what_was_not_recorded_is_not_met():
    found = outcomes(StudyRecord((), ()))
    assert found.pop("E5") == NOT_APPLICABLE
    assert set(found.values()) == {NOT_MET}


BROKEN = {
    "E1": lambda r: r._replace(datasets=(r.datasets[0]._replace(version=""), r.datasets[1])),
    "E2": lambda r: r._replace(curves=r.curves[:4]),
    "E3": lambda r: r._replace(panels=("compression",)),
    "E4": lambda r: r._replace(columns=(*r.columns, "ratio")),
    "E5": lambda r: r._replace(top=(1,)),
    "E6": lambda r: r._replace(controls=PRUNED_CONTROLS + UNPRUNED_CONTROLS[:1]),
    "E7": lambda r: with_first(r, compressions=(2, 4, 8, 16, 64)),
    "E8": lambda r: r._replace(spread="population standard deviation"),
    "E9": lambda r: with_first(r, parents=("other", *r.curves[0].parents[1:])),
    "E10": lambda r: with_first(r, recipe="longer"),
    "E11": lambda r: with_first(r, shapes="with projections"),
    "E12": lambda r: r._replace(controls=(*UNPRUNED_CONTROLS, *PRUNED_CONTROLS[1:])),
    "E13": lambda r: r._replace(latency_device=""),
    "E14": lambda r: r._replace(parent_scores=()),
}


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_is_broken_alone(rule):
    found = outcomes(BROKEN[rule](exemplary()))
    expected = {rule, "E14"} if rule in ("E9", "E10", "E11") else {rule}  # E14 is their sum
    assert {name for name, outcome in found.items() if outcome == NOT_MET} == expected


@pytest.mark.parametrize(
    "rule, record, reason",
    [
        ("E7", with_first(exemplary(), compressions=(2, 4, 4)), "magnitude on cifar10 / ResNet-20 has 2 points"),
        ("E8", with_first(exemplary(), seeds=(0,), parents=("cifar10 ResNet-20 0",)), "n=1, 3 seeds are needed"),
        ("E9", with_first(exemplary(), parents=("", "", "")), "not recorded for every seed"),
        ("E9", BROKEN["E9"](exemplary())._replace(parents_overridden=True), "asked for, and figures carry a mark"),
        ("E12", exemplary()._replace(older_work=()), "no published results are drawn beside"),
    ],
)
def test_reasons_say_what_is_missing(rule, record, reason):
    (verdict,) = [v for v in check(record) if v.rule == rule]
    assert verdict.outcome == NOT_MET and reason in verdict.reason


def test_few_classes_need_no_top_5_and_tracks_have_their_own_parents_and_recipes():
    record = exemplary()
    few = record._replace(top=(1,), datasets=tuple(d._replace(classes=10) for d in record.datasets))
    assert outcomes(few)["E5"] == NOT_APPLICABLE
    early = curve(*NETWORKS[0], "SNIP", track="initialisation", parents=("a", "b", "c"), recipe="from scratch")
    assert set(outcomes(record._replace(curves=(*record.curves, early))).values()) == {MET}


def test_parents_are_compared_at_common_seeds():
    shifted = with_first(exemplary(), seeds=(1, 2, 3), parents=("cifar10 ResNet-20 1", "cifar10 ResNet-20 2", "new"))
    assert outcomes(shifted)["E9"] == MET


def test_toys_do_not_make_a_standard_suite():
    record = exemplary()
    assert standard_suite(record) and suite_label(record) == "standard suite"
    toys = record._replace(
        curves=(*record.curves[:4], curve("MNIST", "LeNet-5", "random"), curve("digits", "MLP", "random"))
    )
    assert not standard_suite(toys)
    assert suite_label(toys) == "no standard suite: 2 of 3 networks that are no toys"
