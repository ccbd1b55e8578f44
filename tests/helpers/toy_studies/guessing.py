"""A study without training that has all that studies have: tuned arms, fresh seeds, a kept network, a report."""

import ml_collections
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from hyperlab.errors import DataError
from hyperlab.report import figures
from hyperlab.report.finished import Finished
from hyperlab.report.page import Page
from hyperlab.report.tables import write_table
from hyperlab.studies import conducted as study
from hyperlab.studies import tuning
from hyperlab.studies.conducted import StudyUnits
from hyperlab.train.checkpoints import save_variables
from hyperlab.train.phases import REPORT, TUNE

computed = []  # names of units, in order


def get_config():
    config = {"study": "guessing", "seed": 0, "arms": ("low", "high"), "rates": (0.1, 0.3), "length": 3}
    config |= {"tuning_seeds": 1, "report_seeds": 2, "workers": 1, "contrasts": (), "keep_networks": 1}
    return ml_collections.ConfigDict(config | {"data": {"name": "numbers", "root": "/numbers", "contents": "1 2 3"}})


class Units(StudyUnits):
    lists = ("arms", "rates", "tuning_seeds", "report_seeds")

    def measure(self, arm, rate, seed, phase):
        unit, network = f"{arm}/{phase}/{rate:.3g}/{seed}", f"networks/{arm}_{seed}.npz"
        keeps = phase == REPORT and seed < study.FIRST_REPORT_SEED + self.config.keep_networks

        def compute():
            if self.stop.requested:
                return None
            computed.append(unit)
            self.reads_test(phase)
            self.counter().update(self.config.length)
            drawn = np.random.default_rng([self.config.seed, seed, len(arm)]).normal(size=self.config.length)
            if keeps:
                save_variables(self.folder.path / network, {"guess": drawn})
            return {"score": rate * np.cumsum(drawn), "seed": np.array(seed)}

        beside = [network] if keeps else []
        return self.unit(unit, self.config.length, compute, further={"rate": rate}, beside=beside)


def run(config, folder, stop):
    if not config.data.root.startswith("/numbers"):
        raise DataError(f"{config.data.root} holds no numbers")

    def tune(units):
        def score(arm, rate, seed):
            known = units.measure(arm, rate, seed, TUNE)
            return None if known is None else float(known["score"][-1])

        grids = dict.fromkeys(config.arms, config.rates)
        study.write_json(folder, "data.json", {"notes": ["some numbers"]})
        found = tuning.choose_rates(grids, units.tuning_seeds, score, units.in_parallel)
        return found and {arm: choice.record() for arm, choice in found.items()}

    def report(units, chosen, writer):
        for arm, seed in [(arm, seed) for arm in chosen for seed in units.report_seeds]:
            measured = units.measure(arm, chosen[arm]["learning_rate"], seed, REPORT)
            if measured is None:
                return False
            writer.scalars(seed, {"score": float(measured["score"][-1])}, split=f"{arm}/test")
        return True

    study.conduct(
        config,
        folder,
        data=(config.data.name, config.data.contents),
        units=lambda progress: Units(config, folder, progress, stop),
        planned=lambda units: config.length * (len(config.rates) + config.report_seeds) * len(config.arms),
        tune=tune,
        report=report,
        finish=lambda units, chosen, writer: write(folder.path),
    )


def write(folder):
    finished, rows = Finished(folder), []
    for arm, choice in finished.choices.items():
        for seed in study.report_seeds(finished.config):
            unit = finished.unit(f"{arm}/{REPORT}/{choice['learning_rate']:.3g}/{seed}")
            rows.append({"arm": arm, "seed": seed, "split": "test", "metric": "score", "value": unit["score"][-1]})
    table = pd.DataFrame(rows)
    write_table(folder / "results.csv", table)
    figure = Figure(figsize=(1, 1))  # an empty one, which takes no time
    page = Page("Who guesses best?")
    page.table(table)
    page.figure(figures.save(figure, folder / "figures" / "guesses.png"), finished.notes[0])
    return page.write(folder / "report.html")
