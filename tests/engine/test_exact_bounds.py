"""Bounds of a counted share, against the beta distribution's quantiles."""

import pytest
from code_forensics.engine.judging.exact_bounds import at_most
from scipy.stats import beta


@pytest.mark.parametrize(
    ("found", "among"),
    [(0, 1), (0, 29), (1, 100), (15, 1536), (199, 20_000), (19_000, 20_000), (10, 11)],
)
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_it_is_clopper_and_pearsons_upper_limit(found, among, confidence):
    expected = beta.ppf(confidence, found + 1, among - found)
    assert at_most(found, among, confidence) == pytest.approx(expected, rel=1e-9)


def test_all_of_them_bound_nothing_and_nonsense_is_refused():
    assert at_most(7, 7) == 1.0
    for found, among in ((-1, 3), (4, 3), (0, 0)):
        with pytest.raises(ValueError, match="no share"):
            at_most(found, among)
