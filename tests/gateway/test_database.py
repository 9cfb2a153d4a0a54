import sqlite3
import threading

import pytest

from gateway.database import Patience, patient


class Refusing:
    """Its method fails so often with an error before it works."""

    def __init__(self, code, times):
        self.patience = Patience("results.sqlite")
        self.left, self.code, self.tried = times, code, 0

    @patient
    def write(self, value, *, more=0):
        self.tried += 1
        if self.left:
            self.left -= 1
            error = sqlite3.OperationalError("the disk says no")
            error.sqlite_errorcode = self.code
            raise error
        return value + more


@pytest.mark.parametrize("code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_FSYNC])
def test_a_disk_that_refuses_is_waited_for_and_told_once(code, caplog):
    caplog.set_level("INFO")
    refusing = Refusing(code, times=2)
    assert refusing.write(3, more=4) == 7
    assert refusing.tried == 3
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
    assert "waiting until it can" in caplog.text


def test_a_mistake_of_ours_is_not_waited_for():
    refusing = Refusing(sqlite3.SQLITE_ERROR, times=1)
    with pytest.raises(sqlite3.OperationalError):
        refusing.write(1)
    assert refusing.tried == 1


def test_a_stop_ends_the_wait():
    refusing = Refusing(sqlite3.SQLITE_FULL, times=1 << 30)
    timer = threading.Timer(0.2, refusing.patience.give_up)
    timer.start()
    with pytest.raises(sqlite3.OperationalError):
        refusing.write(1)
    timer.join()
