"""A study without training that has all that studies have: tuned arms, fresh seeds, a kept network, a page."""

from typing import NamedTuple

import ml_collections
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from hyperlab.errors import DataError
from hyperlab.report import figures
from hyperlab.report.finished import Finished
from hyperlab.report.page import Page
from hyperlab.report.tables import write_table
from hyperlab.studies.base import Study, run_study
from hyperlab.studies.record import write_json
from hyperlab.train.checkpoints import save_variables
from hyperlab.train.phases import REPORT, report_seeds

computed = []  # names of units, in order


def get_config():
    config = {"study": "guessing", "seed": 0, "arms": ("low", "high"), "rates": (0.1, 0.3), "length": 3}
    config |= {"tuning_seeds": 1, "report_seeds": 2, "workers": 1, "contrasts": (), "keep_networks": 1}
    return ml_collections.ConfigDict(config | {"data": {"name": "numbers", "root": "/numbers", "contents": "1 2 3"}})


class Cell(NamedTuple):
    key: str

    def unit_name(self, phase, rate, seed):
        return f"{self.key}/{phase}/{rate:.3g}/{seed}"

    def network_file(self, seed):
        return f"networks/{self.key}_{seed}.npz"


class Guessing(Study[Cell]):
    lists = ("arms", "rates", "tuning_seeds", "report_seeds")

    @classmethod
    def load(cls, config, folder):
        if not config.data.root.startswith("/numbers"):
            raise DataError(f"{config.data.root} holds no numbers")
        return config.data

    @property
    def fingerprint(self):
        return self.data.name, self.data.contents

    def cells(self):
        return [Cell(arm) for arm in self.config.arms]

    def steps(self, cell, phase):
        return self.config.length

    def prepare(self):
        write_json(self.folder, "data.json", {"notes": ["some numbers"]})

    def train(self, cell, rate, seed, phase):
        name = cell.unit_name(phase, rate, seed)

        def compute():
            if self.stop.requested:
                return None
            computed.append(name)
            self.reads_test(phase)
            self.counter().update(self.config.length)
            drawn = np.random.default_rng([self.config.seed, seed, len(cell.key)]).normal(size=self.config.length)
            if self.keeps(seed, phase):
                save_variables(self.folder.path / cell.network_file(seed), {"guess": drawn})
            return {"score": rate * np.cumsum(drawn), "seed": np.array(seed)}

        beside = [cell.network_file(seed)] if self.keeps(seed, phase) else []
        return self.unit(name, self.config.length, compute, further={"rate": rate}, beside=beside)

    def score(self, measured):
        return float(measured["score"][-1])

    def curve(self, cell, seed, measured):
        yield seed, {"score": float(measured["score"][-1])}, f"{cell.key}/test"

    @staticmethod
    def write_page(folder):
        return write_page(folder)


def run(config, folder, stop):
    run_study(Guessing, config, folder, stop)


def write_page(folder):
    finished, rows = Finished(folder), []
    for arm, choice in finished.choices.items():
        for seed in report_seeds(finished.config):
            unit = finished.unit(Cell(arm).unit_name(REPORT, choice["learning_rate"], seed))
            rows.append({"arm": arm, "seed": seed, "split": "test", "metric": "score", "value": unit["score"][-1]})
    table = pd.DataFrame(rows)
    write_table(folder / "results.csv", table)
    figure = Figure(figsize=(1, 1))  # an empty one, which takes no time
    page = Page("Who guesses best?")
    page.table(table)
    page.figure(figures.save(figure, folder / "figures" / "guesses.png"), finished.notes[0])
    return page.write(folder / "report.html")
