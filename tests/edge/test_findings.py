import threading

from edge.findings import Check, Fault, guarded, judged


def test_what_hangs_is_a_fault_after_its_time():
    never = threading.Event()
    check = guarded("x", "an answer", "wait", lambda: str(never.wait()), seconds=0.05)
    never.set()
    assert not check.ok
    assert check.found == "no answer within 0.05 s"


def test_a_missing_package_is_named():
    def work():
        raise ModuleNotFoundError(name="pyarrow")

    check = guarded("x", "y", "z", work)
    assert check.found == "the package 'pyarrow' is not installed"
    assert "extra" in check.remedy


def test_a_fault_brings_its_own_remedy():
    def work():
        raise Fault("it is off", "switch it on")

    check = guarded("x", "on", "ask somebody", work)
    assert (False, "it is off", "switch it on") == (check.ok, check.found, check.remedy)
    assert check.sentence == "x: it is off; expected on; switch it on"


def test_a_check_that_holds_shows_no_remedy():
    assert judged("x", "much", "some", "make room", ok=True).remedy == ""
    assert guarded("x", "some", "make room", lambda: "much") == Check(
        name="x", ok=True, found="much", expected="some"
    )


def test_an_error_nobody_thought_of_is_a_finding():
    check = guarded("x", "y", "z", lambda: str(1 // 0))
    assert (False, "ZeroDivisionError: integer division or modulo by zero") == (
        check.ok,
        check.found,
    )
