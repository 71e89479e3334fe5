from __future__ import annotations

from pathlib import Path

import pytest

from tests import again

CASES = """<testsuites><testsuite>
  <testcase classname="tests.e2e.test_demo" name="a"/>
  <testcase classname="tests.integration.dojo.core.test_clock" name="b">\
<failure message="AssertionError: 1 s&#10;assert 2 == 3"/></testcase>
  <testcase classname="tests.integration.dojo.core.test_clock" name="c"><error/></testcase>
  <testcase classname="tests.unit.test_again.TestIt" name="d"><failure/></testcase>
  <testcase classname="" name="tests.gone"><error/></testcase>
</testsuite></testsuites>"""


def test_failures_and_broken_fixtures_name_their_files_and_causes(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(CASES)
    assert again.failed_tests(report) == [
        (Path("tests/integration/dojo/core/test_clock.py"), "b", "AssertionError: 1 s"),
        (Path("tests/integration/dojo/core/test_clock.py"), "c", "no message"),
        (Path("tests/unit/test_again.py"), "d", "no message"),
        (Path(), "tests.gone", "no message"),
    ]


@pytest.mark.parametrize(
    ("files", "deserved"),
    [
        (
            {"tests/e2e/test_demo.py", "tests/integration/services/gateway/test_gateway_models.py"},
            True,
        ),
        ({"tests/e2e/test_demo.py", "tests/unit/dojo/core/test_clock.py"}, False),
        ({f"tests/integration/test_{n}.py" for n in range(5)}, False),
        ({"."}, False),
        (set(), False),
    ],
    ids=["processes", "pure code", "many", "no file", "none"],
)
def test_another_try_is_for_few_files_of_real_processes(files: set[str], deserved: bool) -> None:
    assert again.deserve_another_try(set(map(Path, files))) is deserved


def test_what_fails_twice_has_failed_and_what_fails_once_has_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = tmp_path / "project"
    (project / "tests" / "integration").mkdir(parents=True)
    (project / "tests" / "integration" / "test_it.py").write_text(
        "from pathlib import Path\n"
        "def test_it():\n"
        "    tries = Path('tries')\n"
        "    tries.write_text(tries.read_text() + '.' if tries.exists() else '.')\n"
        "    assert len(tries.read_text()) >= int(Path('needed').read_text())\n"
    )
    (project / "tests" / "__init__.py").touch()
    (project / "tests" / "integration" / "__init__.py").touch()
    (project / "pyproject.toml").write_text(
        "[tool.pytest.ini_options]\naddopts = '-p no:cacheprovider'\n"
    )
    monkeypatch.chdir(project)
    monkeypatch.setenv("PYTHONPATH", str(project))
    monkeypatch.setenv(
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1"
    )  # eight processes start, without plugins that they do not need
    monkeypatch.setenv("PYTEST_PLUGINS", "xdist.plugin")
    codes = {}
    for needed in (2, 3):
        (project / "tries").unlink(missing_ok=True)
        (project / "needed").write_text(str(needed))
        codes[needed] = (again.main(["tests"]), len((project / "tries").read_text()))
    assert codes == {2: (0, 2), 3: (1, 2)}
    said = capsys.readouterr().out
    assert "SECOND TRY passed" in said
    assert "SECOND TRY failed" in said
    assert (
        said.count("tests/integration/test_it.py::test_it\n      AssertionError: assert 1 >=") == 2
    ), "each try's cause is told"


@pytest.mark.parametrize(
    ("cores", "gigabytes", "count"), [(2, 22, 4), (2, 9, 2), (2, 3, 2), (8, 60, 15), (1, 60, 2)]
)
def test_more_files_than_cores_are_tested_at_a_time_if_memory_allows_it(
    cores: int, gigabytes: int, count: int
) -> None:
    assert again.workers(cores, gigabytes * 2**30) == count
