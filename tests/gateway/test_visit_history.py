import pytest

from analytics.rows import Output
from gateway.result_store import ResultStore, Step
from gateway.visit_history import histories
from tests.gateway.rows import visit
from tests.gateway.samples import ANNA, BEN, SECOND, T0

DAY = 86_400 * SECOND


@pytest.fixture
def results(tmp_path):
    made = ResultStore(tmp_path / "results.sqlite")
    yield made
    made.close()


def _save(results, *visits):
    results.save(Output(visits=list(visits)), Step(journal_id=1, watermark_ns=None))


def _numbers(results, *visits):
    found = histories(results, visits)
    return [(found[v.visit].earlier_visits, found[v.visit].days_since_last) for v in visits]


def test_a_first_visit_has_nothing_before_it(results):
    assert [(0, None)] == _numbers(results, visit("v1", T0))
    assert [] == _numbers(results)


def test_visits_before_are_counted_whether_stored_or_just_found(results):
    _save(results, visit("v1", T0), visit("b1", T0, tag=BEN))
    second = visit("v2", T0 + 2 * DAY + 120 * SECOND)
    third = visit("v3", T0 + 3 * DAY + 240 * SECOND)
    assert [(2, 1.0), (1, 2.0)] == _numbers(results, third, second)


def test_looking_again_gives_the_same(results):
    visits = [visit("v1", T0), visit("v2", T0 + DAY), visit("v3", T0 + 2 * DAY, tag=ANNA)]
    before = _numbers(results, *visits)
    _save(results, *visits)
    assert before == _numbers(results, *visits)
    assert [(1, 0.9986)] == before[1:2]
