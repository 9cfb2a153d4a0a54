"""The examples in the docstrings run."""

import doctest
import pkgutil
from importlib import import_module

import pytest

import analytics
import firmware_profiles
import ingest

LEAST = {analytics: 10, firmware_profiles: 15, ingest: 4}


def modules_of(room):
    return [
        module.name
        for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}.")
        if not module.ispkg
    ]


@pytest.mark.parametrize("name", [name for room in LEAST for name in modules_of(room)])
def test_examples_run(name):
    assert doctest.testmod(import_module(name)).failed == 0


@pytest.mark.parametrize("room", LEAST, ids=lambda room: room.__name__)
def test_there_are_examples(room):
    names = modules_of(room)
    assert sum(doctest.testmod(import_module(n)).attempted for n in names) >= LEAST[room]
