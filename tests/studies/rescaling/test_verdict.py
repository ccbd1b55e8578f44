"""What a study is said to have come to, from its numbers: for the hypernetwork, against it, or neither."""

import numpy as np
import pytest
from rescaled_studies import NOISE, study

from hyperlab.studies.rescaling.collapsed import collapsed, seeds_of, sentence
from hyperlab.studies.rescaling.verdict import compare, method, reference_of, verdict

pytestmark = pytest.mark.fast

FIVE = NOISE[:5]
BASE = 0.8 + np.array([0.01, -0.02, 0.0, 0.02, -0.01])  # what seeds share


def kind(one):
    subject = method(one)
    return compare(one, subject, reference_of(one, subject)).kind


def test_worse_says_so_and_not_to_use_it():
    one = study({"fixed": BASE, "sshn": BASE - 0.05 + FIVE})
    assert kind(one) == "worse"
    assert verdict(one) == (
        "Fixed is highest at every compared factor; SSHN stands 0.050 Dice below Fixed on average [-0.051, -0.049]; "
        "do not use SSHN at this length (200 steps)."
    )


def test_better_says_by_how_much_where_and_for_which_training():
    one = study({"fixed": BASE, "sshn": BASE + 0.05 + FIVE}, seconds={"sshn": 12.0})
    assert verdict(one) == (
        "SSHN is better than a network for each factor (Fixed): +0.050 Dice on average [+0.049, +0.051], shown to be "
        "above it at 3 of 3 factors, at 0.40 of the training time of Fixed's 3 networks."
    )


def test_as_good_within_the_margin_at_every_factor():
    one = study({"fixed": BASE, "sshn": BASE - 0.003 + FIVE}, seconds={"sshn": 12.0})
    assert verdict(one).startswith("SSHN is as good as a network for each factor (Fixed): at most 0.01 Dice below at")
    assert "-0.003 Dice on average [-0.004, -0.002], at 0.40 of the training" in verdict(one)
    narrower = study({"fixed": BASE, "sshn": BASE - 0.003 + FIVE}, margin=0.002)
    assert kind(narrower) == "worse" and "do not use" in verdict(narrower)


def test_as_good_on_average_is_not_as_good_at_every_factor():
    tilted = BASE[:, None] + FIVE[:, None] + np.array([0.015, 0.0, -0.015])
    one = study({"fixed": BASE, "sshn": tilted})
    assert kind(one) == "mixed"
    assert verdict(one).startswith(
        "Against Fixed, SSHN is better at phi 0.1, worse at phi 0.5, not separable at 1 of 3"
    )
    assert kind(study({"fixed": BASE, "sshn": tilted}, margin=0.02)) == "mixed", "a margin does not hide both"


def test_not_separable_says_what_was_seen():
    wide = BASE + np.array([0.1, -0.2, 0.05, -0.1, 0.05])
    one = study({"fixed": BASE, "sshn": wide})
    assert verdict(one).startswith("SSHN and Fixed cannot be told apart with 5 seeds: SSHN stands 0.020 Dice below")
    assert verdict(one).endswith("no ground to use SSHN at this length (200 steps).")
    even = study({"fixed": BASE, "sshn": wide + 0.02})
    assert "told apart" in verdict(even) and "no ground" not in verdict(even)


@pytest.mark.parametrize(("seeds", "said"), [(1, "No claim with 1 seed:"), (2, "No claim with 2 seeds:")])
def test_one_or_two_seeds_are_no_claim_however_far_apart(seeds, said):
    one = study({"fixed": BASE[:seeds], "sshn": BASE[:seeds] - 0.3 + FIVE[:seeds]})
    text = verdict(one)
    assert text.startswith(said) and "SSHN stands" in text and "0.3" in text
    assert "Fixed is highest at every compared factor" in text


def test_three_seeds_are_a_look():
    assert verdict(study({"fixed": BASE[:3], "sshn": BASE[:3] + 0.1 + FIVE[:3]})).endswith(" (a look: 3 seeds).")


def test_a_simpler_network_for_all_factors_is_not_forgotten():
    arms = {"fixed": BASE, "sshn": BASE + 0.05 + FIVE}
    same = verdict(study({**arms, "stochastic": BASE + 0.05 + FIVE[::-1]}))
    assert "Stochastic, without a hypernetwork, cannot be told apart from it" in same
    above = verdict(study({**arms, "stochastic": BASE + 0.09, "film": BASE}))
    assert "but Stochastic, without a hypernetwork, stands 0.040 above it" in above
    below = verdict(study({**arms, "stochastic": BASE}))
    assert "Stochastic, without a hypernetwork, stands 0.050 below it" in below


def test_without_fixed_it_is_held_against_the_highest_of_the_others():
    one = study({"sshn": BASE, "film": BASE - 0.1 + FIVE, "stochastic": BASE + 0.1 + FIVE})
    assert reference_of(one, "sshn") == "stochastic"
    assert verdict(one).startswith("Stochastic is highest at every compared factor; SSHN stands 0.100 Dice below Stoch")


def test_without_a_hypernetwork_the_two_highest_are_shown():
    one = study({"film": BASE - 0.1 + FIVE, "fixed": BASE, "stochastic": BASE - 0.05 + FIVE})
    assert verdict(one) == (
        "No hypernetwork ran; Fixed is highest at every compared factor; Stochastic stands 0.050 Dice below Fixed on "
        "average [-0.051, -0.049]."
    )


def test_one_arm_alone_has_nothing_to_stand_against():
    assert verdict(study({"fixed": BASE})) == "Only Fixed ran: there is nothing to compare it with."
    assert verdict(study({"width": BASE})) == "No arm ran at the compared factors: there is nothing to compare it with."


def test_a_collapsed_seed_is_said_and_takes_the_advice():
    fallen = BASE + np.array([0, 0, -0.75, 0, 0])
    one = study({"fixed": BASE, "sshn": fallen})
    assert verdict(one).startswith("Do not rely on SSHN, which collapsed with 1 of 5 seeds. SSHN and Fixed")
    assert "no ground" not in verdict(one)
    other = study({"fixed": fallen, "sshn": BASE + 0.01 + FIVE})
    assert verdict(other).endswith("Fixed collapsed with 1 of 5 seeds.") and "do not rely" not in verdict(other)


@pytest.mark.parametrize("name", ["sshn - fixed", "fixed - sshn"])
def test_the_verdict_says_what_the_table_of_contrasts_says(name):
    """Holm's interval of a named contrast is wider than one of its own, whichever way it was named."""
    arms = {"fixed": BASE, "sshn": BASE - 0.02 + 20 * FIVE, "film": BASE - 0.02 + 20 * FIVE[::-1]}
    alone = compare(study(arms), "sshn", "fixed").contrast
    named = compare(study(arms, contrasts=(name, "film - fixed", "sshn - film")), "sshn", "fixed").contrast
    assert named.mean == pytest.approx(alone.mean) and named.low < alone.low < alone.high < named.high


def test_what_beats_what_does_not_depend_on_the_order_of_the_arms():
    arms = {"fixed": BASE, "stochastic": BASE - 0.01 + FIVE, "sshn": BASE - 0.05 + FIVE}
    turned = dict(reversed(arms.items()))
    assert verdict(study(arms)) == verdict(study(turned))


# -- collapsed seeds ----------------------------------------------------------------------------------------------


def test_collapsed_by_arm_factor_and_seed():
    scores = np.array([[0.80, 0.85, 0.9], [0.39, 0.43, 0.9], [0.80, 0.0, 0.9]])
    found = collapsed(study({"fixed": [0.8, 0.8, 0.8], "sshn": scores}))
    assert [one[:3] for one in found] == [("sshn", 0.1, 101), ("sshn", 0.3, 102)]
    assert seeds_of(found, "sshn") == [101, 102] and seeds_of(found, "fixed") == []


def test_one_that_learned_shows_up_two_that_did_not():
    assert [one.seed for one in collapsed(study({"sshn": [0.1, 0.8, 0.2]}, factors=(0.3,)))] == [100, 102]


def test_all_background_is_collapsed_and_networks_that_hardly_began_are_not():
    assert len(collapsed(study({"sshn": [0.0, 0.005, 0.0]}))) == 9
    assert collapsed(study({"sshn": [0.03, 0.07, 0.12]})) == [], "half of little is no collapse"


def test_the_sentence_names_each_once():
    one = study({"fixed": [0.8, 0.8], "sshn": [0.8, 0.0]})
    said = sentence(one, collapsed(one))
    assert said.startswith("Collapsed, and counted in every mean: SSHN, seed 101, at phi 0.1, 0.3, 0.5 (Dice 0.000, ")
    assert sentence(one, []) == ""
