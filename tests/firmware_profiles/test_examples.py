"""The examples in the docstrings of the room run."""

import doctest
import pkgutil
from importlib import import_module

import pytest

import firmware_profiles

MODULES = [
    module.name
    for module in pkgutil.walk_packages(firmware_profiles.__path__, "firmware_profiles.")
    if not module.ispkg
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    results = doctest.testmod(import_module(name))
    assert results.failed == 0


def test_there_are_examples():
    attempted = sum(doctest.testmod(import_module(name)).attempted for name in MODULES)
    assert attempted >= 15
