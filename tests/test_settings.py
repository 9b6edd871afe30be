"""Settings: file, environment and arguments, in that order of weight, and clear errors."""

import logging
from pathlib import Path
from typing import Any

import pytest

import ire_otel
from ire_otel import settings
from ire_otel.errors import ConfigurationError
from ire_otel.locations import project_folder
from tests.runs import document


def test_the_address_of_jaeger_is_checked_and_used() -> None:
    """It is a web address; links are made of it whether or not it ends with a slash."""
    for given in ("http://jaeger:16686", "http://jaeger:16686/"):
        assert settings.Settings(jaeger_url=given).jaeger_link("ab" * 16) == f"http://jaeger:16686/trace/{'ab' * 16}"
    assert settings.Settings().jaeger_link("ab" * 16) is None
    with pytest.raises(ConfigurationError, match=r"'jaeger_url' in configure.. cannot be 'localhost:16686': give http"):
        settings.load({"jaeger_url": "localhost:16686"}, environment={})


def test_the_environment_overrides_the_file_and_arguments_override_both(tmp_path: Path) -> None:
    """ire_otel.toml < IRE_OTEL_* < configure()."""
    (tmp_path / "ire_otel.toml").write_text('brain_dir = "from_file"\nfinish_timeout = 1\nsettle_after = 2.5\n')
    environment = {"IRE_OTEL_FINISH_TIMEOUT": "3", "IRE_OTEL_EXPORTERS": "ire, console", "IRE_OTEL_ENABLED": "false"}
    chosen = settings.load({"settle_after": 9.0}, environment=environment, folder=tmp_path)
    assert chosen.brain_dir == Path.cwd() / "from_file"
    assert (chosen.finish_timeout, chosen.settle_after) == (3.0, 9.0)
    assert (chosen.exporters, chosen.enabled) == (("ire", "console"), False)


def test_pyproject_is_read_where_there_is_no_file_of_our_own(tmp_path: Path) -> None:
    """[tool.ire_otel], with the toggle of a project."""
    (tmp_path / "pyproject.toml").write_text("[tool.ire_otel.projects.quiet]\nenabled = false\n")
    chosen = settings.load(environment={}, folder=tmp_path)
    assert not chosen.enabled_for("quiet")
    assert chosen.enabled_for("loud")
    assert chosen.enabled_for(None)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"exporter": ["ire"]}, r"unknown setting 'exporter' in configure\(\): did you mean 'exporters'\?"),
        ({"enabled": "no"}, "setting 'enabled' in .* cannot be 'no'"),
        ({"brain_dir": 3}, "setting 'brain_dir' in .* cannot be 3"),
        ({"finish_timeout": "soon"}, "setting 'finish_timeout' in .* cannot be 'soon'"),
        ({"projects": {"x": {"enabld": 1}}}, "enabld"),
        ({"exporters": ["ire", "otpl"]}, "unknown exporter 'otpl' in exporters: did you mean 'otlp'"),
    ],
)
def test_a_mistake_is_named_with_the_nearest_valid_word(overrides: dict[str, Any], said: str) -> None:
    """configure() raises; the message has value, place and remedy."""
    with pytest.raises(ConfigurationError, match=said):
        ire_otel.configure(**overrides)


def test_in_a_running_pipeline_a_mistake_is_logged_and_the_rest_counts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An implicit first run never fails on its settings."""
    (tmp_path / "ire_otel.toml").write_text('brain_dir = "elsewhere"\nexporters = ["ire", "otpl"]\nbrian = 1\n')
    with caplog.at_level(logging.ERROR, "ire_otel"), ire_otel.run(query="q"):
        pass
    assert document(Path("elsewhere")).run.query == "q"
    assert [record.message.split(";")[0][:24] for record in caplog.records] == [
        "unknown setting 'brian' ",
        "unknown exporter 'otpl' ",
    ]


def test_broken_toml_is_named(tmp_path: Path) -> None:
    """With the file and what is wrong in it."""
    (tmp_path / "ire_otel.toml").write_text("brain_dir = \n")
    with pytest.raises(ConfigurationError, match=r"ire_otel\.toml is not valid TOML"):
        settings.load(environment={}, folder=tmp_path)


def test_otel_sdk_disabled_turns_tracing_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for every OpenTelemetry instrumentation."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    with ire_otel.run(query="q") as trace:
        ire_otel.decide("nothing", what=1, why="y")
    assert ire_otel.finish_sync(trace) == {"saved": False, "reason": "tracing_disabled"}
    assert not Path("brain").exists()


def test_locations_survive_a_move_of_the_brain_folder(tmp_path: Path) -> None:
    """A row names the file from the brain folder's own name on."""
    old = settings.load({"brain_dir": str(tmp_path / "a" / "brain")}, environment={})
    new = settings.load({"brain_dir": str(tmp_path / "b" / "mind")}, environment={})
    location = old.location(old.trace_file("cobot", "trc_1"))
    assert location == "brain/projects/cobot/_traces/trc_1.json"
    assert new.resolve(location) == new.trace_file("cobot", "trc_1")


def test_folder_names_are_kept_where_they_are_safe() -> None:
    """Others are spelt safely, marked, and never shared."""
    assert project_folder("cobot") == "cobot"
    assert project_folder(None) == "unknown"
    names = ["Cobot", "cobot.", "unknown", "e\u0301", "\u00e9", "a b", "a/b", "../x", "cobot-0123abcd", "nul"]
    folders = [project_folder(name) for name in names]
    assert len(set(folders)) == len(names)
    assert not {"cobot", "unknown"} & set(folders)
    assert all(folder == Path(folder).name and folder.isascii() for folder in folders)
