"""The ranking finds planted outliers and says why."""

import numpy as np
import pytest

from mics.pseudo_labels.rank import FACTORS, OrganStatistics, as_csv, rank


@pytest.fixture
def population():
    """Twenty livers as they vary between subjects: half annotated, half predicted well."""
    rng = np.random.default_rng(0)
    return {
        f"subject{number:02d}": {
            6: OrganStatistics(
                volume_ml=1500 * np.exp(0.2 * rng.normal()),
                centre_mm=tuple(np.array([-60, 0, 50]) + 10 * rng.normal(size=3)),
                parts=1.0 if number < 10 else 0.97,
                confidence=1.0 if number < 10 else 0.9,
                predicted=number >= 10,
            )
        }
        for number in range(20)
    }


CHANGES = {
    "volume": {"volume_ml": 120.0},
    "position": {"centre_mm": (60.0, 0.0, 50.0)},
    "parts": {"parts": 0.3},
    "confidence": {"confidence": 0.35},
}


@pytest.mark.parametrize("why", [*CHANGES, "agreement", "found"])
def test_an_outlier_comes_first_with_its_reason(population, why):
    agreement = dict.fromkeys(population, 0.9)
    statistics = population["subject15"][6]
    if why == "agreement":
        agreement["subject15"] = 0.2
    elif why == "found":
        statistics = statistics.model_copy(
            update={"volume_ml": 0.0, "centre_mm": None, "parts": 0.0, "confidence": 0.0}
        )
    else:
        statistics = statistics.model_copy(update=CHANGES[why])
    population["subject15"] = {6: statistics}
    scores = rank(population, agreement)
    worst = next(iter(scores))
    assert worst == ("subject15", 6)
    assert scores[worst].weakest_factor == why
    others = [found.score for key, found in scores.items() if key != worst]
    assert scores[worst].score < 0.5 * min(others)
    assert min(others) > 0.4


def test_annotated_organs_are_not_ranked_and_scores_rise(population):
    scores = rank(population, {})
    assert {name for name, _ in scores} == {f"subject{number}" for number in range(10, 20)}
    values = [found.score for found in scores.values()]
    assert values == sorted(values)
    for found in scores.values():
        assert found.score == pytest.approx(np.prod(list(found.factors.values())))


def test_of_three_cases_no_one_is_unusual():
    cases = {
        str(number): {1: OrganStatistics(volume_ml=10.0**number, centre_mm=(0, 0, 100.0 * number), predicted=True)}
        for number in range(3)
    }
    assert {found.score for found in rank(cases, {}).values()} == {1.0}


def test_equal_cases_do_not_make_one_that_differs_a_little_an_outlier():
    same = {str(n): {1: OrganStatistics(volume_ml=200, centre_mm=(0, 0, 0), predicted=True)} for n in range(6)}
    same["other"] = {1: OrganStatistics(volume_ml=210, centre_mm=(3, 0, 0), predicted=True)}
    assert rank(same, {})["other", 1].score > 0.9


def test_the_table_has_a_row_an_organ_in_order(population):
    population["subject15"] = {6: OrganStatistics(volume_ml=0.0, centre_mm=None, predicted=True)}
    lines = as_csv(rank(population, {})).splitlines()
    assert lines[0] == "case,organ,score,because of," + ",".join(FACTORS)
    assert lines[1] == "subject15,liver,0.000,found,,,,,"
    assert len(lines) == 11
