"""The report of the pruning study, made from its run folder alone: tables, figures, `report.html`."""

from pathlib import Path

import numpy as np
import pandas as pd

from hyperlab.data.published import curves, packaged
from hyperlab.metrics.statistics import names_of
from hyperlab.report import sections
from hyperlab.report.page import Page
from hyperlab.report.tables import write_table
from hyperlab.studies.pruning import figures as draw
from hyperlab.studies.pruning import front, rank_changes
from hyperlab.studies.pruning import results as measured
from hyperlab.studies.pruning import rules as checklist
from hyperlab.studies.pruning.arms import DENSE, PARENT, TRACKS
from hyperlab.studies.pruning.recorded import record

LOSS = 0.01  # of the score, that may be given away for a "free" compression


def write(folder: Path) -> Path:
    """Writes `results.csv`, `contrasts.csv`, `rules.csv`, `figures/` and `report.html`."""
    folder = Path(folder)
    study = measured.read(folder)
    write_table(folder / "results.csv", measured.results(study))
    compared = measured.contrasts(study)
    write_table(folder / "contrasts.csv", sections.contrast_rows(compared, "at"))
    published = _published(study)
    figures = draw.all_figures(folder / "figures", study, compared, published)
    recorded = record(study, sorted({one.source for axis in published for one in axis}))
    verdicts = checklist.table(checklist.check(recorded))
    write_table(folder / "rules.csv", verdicts)
    return _page(folder, study, compared, figures, verdicts, recorded).write(folder / "report.html")


def _published(study: measured.Study) -> tuple[list, ...]:
    """Curves of others on the network that the config names, against compression and against speedup."""
    named = study.config.published
    if not named.dataset:
        return ()
    return tuple(curves(packaged(), named.dataset, named.architecture, against=axis) for axis in measured.AXES)


def _page(folder: Path, study: measured.Study, compared, figures, verdicts: pd.DataFrame, recorded) -> Page:
    config, task = study.config, study.task
    page = Page("How much can be pruned, by which method, and what does it cost?")
    page.paragraph(
        f"{task['data']}, {task['architecture']} ({_parameters(task)} parameters, {task['macs']:,} MACs an example); "
        f"{config.report_seeds} fresh seeds{sections.look(config.report_seeds)}, each with a "
        f"parent that all methods share; parents trained for {config.parent_length}, pruned networks for "
        f"{config.tuning_length}.",
        "lead",
    )
    page.findings(_findings(study, compared))
    for number, track in enumerate(study.tracks):
        page.heading(_capital(TRACKS[track]))
        page.figure(*figures.pop(f"track_{number}"))
        page.table(_scores(study, track), _scores_note(study, track))
    if front.points(study):
        page.heading("Along the front")
        page.figure(*front.figure(folder / "figures" / "front.png", study))
        page.table(
            front.table(study),
            f"Test {study.metric} less that of the same training without pruning, mean over seeds paired by seed.",
        )
    page.heading("Contrasts, named before the study ran")
    page.figure(*figures.pop("contrasts"))
    page.table(sections.contrast_table(compared, "at"), _contrasts_note(study))
    page.heading("Where the order of the methods changes")
    for sentence in _orders(study):
        page.paragraph(sentence)
    for track in study.tracks:
        table = rank_changes.orders(_tidy(study, track))
        page.table(table, f"{TRACKS[track]}: the order of the means, whether or not intervals tell methods apart.")
    page.heading("What is left")
    page.table(
        _sizes(study),
        f"At compression {measured.middle(study):g}, means over seeds; all others are in results.csv. The speedup is "
        "of multiply-accumulates on paper: masks make nothing faster. Bits: dense; with one bit an entry for what is "
        "kept; with a column index for each kept entry.",
    )
    for path, caption in figures.values():
        page.figure(path, caption)
    page.heading("Rules of a fair evaluation")
    page.table(verdicts, f"{checklist.suite_label(recorded)}. What was not recorded is not met.")
    page.heading("How the networks were tuned")
    page.table(
        pd.DataFrame([_tuning_row(name, choice, study) for name, choice in study.choices.items()]),
        f"Validation {study.metric}, {config.tuning_seeds} tuning seed(s), none of them reported; methods "
        f"at compression {config.tuning_compression:g}. All methods of a track have the same grid and the same number "
        "of trials.",
    )
    page.table(
        pd.DataFrame(
            [
                {"method": study.label(name), "definition": study.choices[name]["definition"],
                 "published": study.choices[name]["source"] or "-"}
                for name in study.runs
            ]
        )
    )  # fmt: skip
    return sections.end(page, folder, _limits(study), config)


def _capital(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]


def _parameters(task: dict) -> str:
    return f"{sum(int(np.prod(shape)) for shape in task['shapes'].values()):,}"


def _findings(study: measured.Study, compared) -> list[str]:
    sentences = []
    for family, named in compared.items():
        where = family.split("/")[0]
        for name, one in named.items():
            first, second = map(study.label, names_of(name))
            sentences.append(
                f"At {where}, {first} - {second}: {one.mean:+.4f} [{one.low:+.4f}, {one.high:+.4f}] in "
                f"{study.metric}: {one.verdict}."
            )
    for track in study.tracks:
        best = {study.label(name): measured.free(study, name, LOSS) for name in study.of_track(track)}
        most = max(best.values())
        names = ", ".join(name for name, value in best.items() if value == most)
        sentences.append(
            f"{_capital(TRACKS[track])}: at most {LOSS:g} of {study.metric} is lost up to compression {most:g} "
            f"({names})." if most > 1 else
            f"{_capital(TRACKS[track])}: every method loses more than {LOSS:g} of {study.metric} at the smallest "
            "compression."
        )  # fmt: skip
        if track == "trained":
            gained = study.score(DENSE[track], 1.0) - study.parent_score
            sentences.append(
                f"Training on without pruning changes {study.metric} by {gained.mean():+.4f}: so much of any gain is "
                "not due to pruning."
            )
    return sentences


def _scores(study: measured.Study, track: str) -> pd.DataFrame:
    rows = []
    dense = DENSE[track]
    tuned = study.score(dense, 1.0)
    rows.append({"method": study.label(dense), "1": sections.spread(tuned)})
    for name in study.of_track(track):
        row = {"method": study.label(name), "1": sections.spread(study.at_one(name))}
        row |= {f"{one:g}": sections.spread(study.score(name, one)) for one in study.compressions(name)}
        rows.append(row)
    return pd.DataFrame(rows).fillna("-")


def _scores_note(study: measured.Study, track: str) -> str:
    at_one = "the parent as it is" if track == study.tracks[0] and track == "trained" else "no pruning"
    return (
        f"Test {study.metric} after the last step by requested compression, mean ± sample standard deviation over "
        f"{study.config.report_seeds} seeds; at 1, {at_one}. No step is chosen on the test split; scores where "
        "validation was best, and before training on, are in results.csv. Each network has seen "
        f"{study.task['examples_seen']:,} training examples, parent included."
    )


def _contrasts_note(study: measured.Study) -> str:
    compared = ", ".join(f"{one:g}" for one in study.config.compared)
    ranges = []
    for name in study.config.speedup_contrasts:
        reached = measured.speedups(study, *names_of(name))
        what = "no common speedups" if reached is None else f"speedups {reached[0]:.2f} to {reached[1]:.2f}"
        ranges.append(f"{name}: {what}")
    return (
        f"Test {study.metric}, paired by seed, n = {study.config.report_seeds}: mean over the compressions {compared}; "
        f"at equal theoretical speedup, mean over what both reach, interpolated in its logarithm ({'; '.join(ranges)})."
    )


def _tidy(study: measured.Study, track: str) -> pd.DataFrame:
    """Test scores of a track's methods as `rank_changes` reads them."""
    seeds = [int(one["seed"]) for one in study.unpruned]
    rows = [
        (study.label(name), compression, seed, score)
        for name in study.of_track(track)
        for compression in study.compressions(name)
        for seed, score in zip(seeds, study.score(name, compression), strict=True)
    ]
    return pd.DataFrame(rows, columns=["method", "compression", "seed", "value"])


def _orders(study: measured.Study) -> list[str]:
    """Where the order of two methods changes along the curve: the named contrasts, and every pair that reverses."""
    sentences = []
    for track in study.tracks:
        names = [study.label(name) for name in study.of_track(track)]
        named = [(study.label(a), study.label(b)) for a, b in map(names_of, study.config.contrasts)]
        table = _tidy(study, track)
        for change in rank_changes.rank_changes(table, [pair for pair in named if set(pair) <= set(names)]):
            sentences.append(f"{change.sentence}.")
        for change in rank_changes.rank_changes(table):
            if change.reverses and (change.first, change.second) not in named:
                sentences.append(f"{change.sentence} (not among the named contrasts).")
    seeds = study.config.report_seeds
    return [*sentences, f"Paired by seed, n = {seeds}; intervals hold together over the points of a curve."]


def _sizes(study: measured.Study) -> pd.DataFrame:
    rows = []
    for name in study.methods:
        of = lambda field, name=name: study.size(name, measured.middle(study), field).mean()  # noqa: E731
        collapsed = [int(one["collapsed"]) for one in study.runs[name][measured.middle(study)]]
        rows.append(
            {
                "method": study.label(name),
                "compression": f"{of('compression_ratio'):.3f}",
                "parameters left": f"{of('nonzero'):,.0f}",
                "MACs left": f"{of('nonzero_macs'):,.0f}",
                "theoretical speedup": f"{of('theoretical_speedup'):.3f}",
                "Mbit dense": f"{of('dense_bits') / 1e6:.3f}",
                "Mbit bitmask": f"{of('bitmask_bits') / 1e6:.3f}",
                "Mbit indexed": f"{of('indexed_bits') / 1e6:.3f}",
                "empty tensors": f"{np.mean(collapsed):.3g}",
            }
        )
    return pd.DataFrame(rows)


def _tuning_row(name: str, choice: dict, study: measured.Study) -> dict[str, str]:
    label = PARENT if name == PARENT else study.label(name)
    return {"method": label} | sections.tuned(choice, "validation score of each")


def _limits(study: measured.Study) -> list[str]:
    config, task = study.config, study.task
    sentences = list(task["notes"])
    if task["toy"]:
        sentences.append(
            f"{task['data']} is a toy: methods that differ here may not differ elsewhere, and the reverse. The configs "
            "in configs/pruning are for questions."
        )
    sentences.append(
        f"Learning rates were chosen at compression {config.tuning_compression:g} and used at all: a method that would "
        "want another rate elsewhere is at a disadvantage there."
    )
    if len(study.tracks) > 1:
        sentences.append(
            "The two tracks have seen equally many examples, but are two questions: what a trained network can spare, "
            "and what need not be there to begin with. They are never drawn in one panel."
        )
    if config.report_seeds < 5:
        sentences.append(
            f"With {config.report_seeds} seed(s) this is a look: intervals are wide, and no claim is made."
        )
    return sentences
