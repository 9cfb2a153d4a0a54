"""The live page of the real demo in a real browser."""

import os
import subprocess
import sys

import pytest

from tests.system import page_checks

pytestmark = pytest.mark.system


def test_the_demo_shows_a_shop_at_work():
    process = subprocess.Popen(
        [sys.executable, "-m", "fanous", "demo", "--port", "0", "--seed", "4"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )
    try:
        line = ""
        while "http://" not in line:
            line = process.stderr.readline()
            assert line, "the demo ended before its page was there"
        address = line.split("work at ")[1].split(" ")[0].rstrip("/")
        with page_checks.chromium() as browser:
            page_checks.assert_page_lives(browser, address)
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0
