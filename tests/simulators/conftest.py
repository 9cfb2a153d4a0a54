import pytest

from ingest.store_file import read_store
from simulators.command import DEMO_STORE
from simulators.scenario import SCENARIOS
from simulators.world import simulate


@pytest.fixture(scope="session")
def store():
    return read_store(DEMO_STORE)


@pytest.fixture(scope="session")
def chunks(store):
    """Three minutes of the demo store."""
    return list(simulate(SCENARIOS["demo"], store, 5, 3.0))
