"""The test runner itself: a crash, a hang, a silent exit and a missing result all count as failures."""

import importlib.machinery
import importlib.util
import pathlib
import stat
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
loader = importlib.machinery.SourceFileLoader("tests_run", str(ROOT / "tests/run"))
run = importlib.util.module_from_spec(importlib.util.spec_from_loader("tests_run", loader))
loader.exec_module(run)


def unit(tmp_path, script, limit=20):
    """Runs a shell script in place of a cmocka program; returns (passed, failed, skipped)."""
    program = tmp_path / "test_program"
    program.write_text("#!/bin/sh\n" + script)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    report = run.Report()
    run.schedule([run.unit_job(report, "unit/x", str(program), limit)], report)
    return report.passed, report.failed, report.skipped


@pytest.mark.parametrize(
    "script, expected",
    [
        ("echo 1..2; echo 'ok 1 - a'; echo 'ok 2 - b'", (2, 0, 0)),
        ("echo 1..2; echo 'ok 1 - a'; echo 'not ok 2 - b'; echo '# why'; exit 1", (1, 1, 0)),
        ("echo 1..2; echo 'ok 1 - a'; echo 'not ok 2 # SKIP b'", (1, 0, 1)),
        ("echo 1..1; echo 'ok 1 - a'; echo 1..1; echo 'ok 1 - b'", (2, 0, 0)),
        ("echo 1..2; echo 'ok 1 - a'; kill -SEGV $$", (1, 1, 0)),
        ("echo 1..3; echo 'ok 1 - a'; echo 'not ok 2 - b'; kill -SEGV $$", (1, 2, 0)),
        ("echo 1..2; echo 'ok 1 - a'; exit 1", (1, 1, 0)),
        ("echo 1..2; echo 'ok 1 - a'", (1, 1, 0)),
        ("exit 0", (0, 1, 0)),
        ("exit 127", (0, 1, 0)),
    ],
    ids=["passes", "fails", "skips", "two groups", "crashes", "fails and crashes", "late failure", "one missing", "silent", "not found"],
)
def test_unit_verdicts(tmp_path, script, expected):
    assert unit(tmp_path, script) == expected


def test_a_hanging_program_ends_with_its_children(tmp_path):
    begin = time.monotonic()
    # The child ignores the polite signal and keeps the output open.
    assert unit(tmp_path, "(trap '' TERM; sleep 60) & sleep 60", limit=1) == (0, 1, 0)
    assert time.monotonic() - begin < 20


def test_a_program_that_cannot_be_started_is_a_failure():
    report = run.Report()
    run.schedule([run.unit_job(report, "unit/x", "/nonesuch", 5)], report)
    assert (report.passed, report.failed) == (0, 1)


def test_what_needs_a_broken_build_fails():
    report = run.Report()
    broken = run.Job("build", lambda: False)
    after = run.Job("unit", lambda: report.add("ok", "must not run"), after=[broken])
    later = run.Job("other", lambda: report.add("ok", "other"))
    run.schedule([broken, after, later], report)
    assert (report.passed, report.failed) == (1, 1)


def test_weights_are_kept():
    report, running, most = run.Report(), [0], [0]

    def work():
        running[0] += 1
        most[0] = max(most[0], running[0])
        time.sleep(0.05)
        running[0] -= 1

    heavy = [run.Job(f"h{i}", work, weight=run.JOBS) for i in range(3)]
    run.schedule(heavy, report)
    assert most[0] == 1
    assert all(job.state == "done" for job in heavy)


def junit(tmp_path, xml, code):
    path = tmp_path / "junit.xml"
    path.write_text(xml)
    report = run.Report()
    run.judge_pytest(report, "e2e", str(path), run.Result(code, "", False, 0), 5)
    return report.passed, report.failed, report.skipped


CASE = '<testcase classname="tests.e2e.test_x" name="test_{}">{}</testcase>'


@pytest.mark.parametrize(
    "cases, code, expected",
    [
        (CASE.format(1, "") + CASE.format(2, '<skipped message="none"/>'), 0, (1, 0, 1)),
        (CASE.format(1, "") + CASE.format(2, '<failure message="no">trace</failure>'), 1, (1, 1, 0)),
        (CASE.format(1, "") + CASE.format(2, '<error message="no">trace</error>'), 1, (1, 1, 0)),
        ("", 5, (0, 1, 0)),
        (CASE.format(1, ""), 2, (1, 1, 0)),
    ],
    ids=["skip", "failure", "error", "none", "interrupted"],
)
def test_pytest_verdicts(tmp_path, cases, code, expected):
    assert junit(tmp_path, f"<testsuites><testsuite>{cases}</testsuite></testsuites>", code) == expected


def test_no_junit_file_is_a_failure(tmp_path):
    report = run.Report()
    run.judge_pytest(report, "e2e", str(tmp_path / "none.xml"), run.Result(-9, "", True, 5), 5)
    assert (report.passed, report.failed) == (0, 1)
