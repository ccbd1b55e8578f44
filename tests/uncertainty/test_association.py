import math

import numpy as np
import pytest
import scipy.stats

from hyperlab.errors import DataError
from hyperlab.uncertainty import association as a

pytestmark = pytest.mark.fast
RANDOM = np.random.default_rng(0)
SIZE = RANDOM.integers(1, 6, 40).astype(float)
SCORE, QUALITY = SIZE + RANDOM.normal(size=40), SIZE - RANDOM.normal(size=40)


def test_correlations_are_those_of_scipy():
    np.testing.assert_allclose(a.pearson(SCORE, QUALITY), scipy.stats.pearsonr(SCORE, QUALITY).statistic)
    np.testing.assert_allclose(a.spearman(SIZE, QUALITY), scipy.stats.spearmanr(SIZE, QUALITY).statistic)


def test_partial_correlation_is_that_of_what_size_does_not_explain():
    ranks = [scipy.stats.rankdata(values) for values in (SCORE, QUALITY, SIZE)]
    design = np.stack([np.ones(40), ranks[2]], 1)
    rests = [rank - design @ np.linalg.lstsq(design, rank, rcond=None)[0] for rank in ranks[:2]]
    np.testing.assert_allclose(a.partial_spearman(SCORE, QUALITY, SIZE), np.corrcoef(*rests)[0, 1])
    # size makes both go together, and is all that does
    assert a.spearman(SCORE, QUALITY) > 0.4 and abs(a.partial_spearman(SCORE, QUALITY, SIZE)) < 0.3


def test_rows_are_independent_of_each_other():
    stacked = a.spearman(np.stack([SCORE, SIZE]), np.stack([QUALITY, QUALITY]))
    np.testing.assert_allclose(stacked, [a.spearman(SCORE, QUALITY), a.spearman(SIZE, QUALITY)])


def test_nothing_that_varies_is_nan_without_a_warning():
    assert math.isnan(a.pearson(np.ones(5), np.arange(5.0)))
    assert math.isnan(a.partial_spearman(np.arange(5.0), np.arange(5.0) ** 2, np.arange(5.0)))
    result = a.association(np.ones(12), np.arange(12.0), np.arange(1, 13))
    assert math.isnan(result.spearman.estimate) and math.isnan(result.spearman.low) and result.images == 12


def test_images_without_truth_or_value_are_left_out_and_counted():
    scores, quality, areas = SCORE.copy(), QUALITY.copy(), np.exp(SIZE)
    areas[:3], quality[5] = 0, np.nan
    result = a.association(scores, quality, areas)
    known = np.setdiff1d(np.arange(40), [0, 1, 2, 5])
    assert (result.images, result.excluded, result.spearman.n) == (36, 4, 36)
    np.testing.assert_allclose(result.pearson.estimate, a.pearson(SCORE[known], QUALITY[known]))
    for one in result[:3]:
        assert -1 <= one.low < one.estimate < one.high <= 1
    assert a.association([], [], []).images == 0
    with pytest.raises(DataError, match="images"):
        a.association([1.0], [1.0, 2.0], [1, 1])
