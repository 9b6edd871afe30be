"""The documentation says what the code does: names, settings, the README's example."""

import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec

from ire_otel import semconv
from ire_otel.settings import ProjectSettings, Settings

ROOT = Path(__file__).parent.parent


def test_every_name_is_explained() -> None:
    """The semantic conventions list every attribute, event and baggage name that the code has, and no other."""
    text = (ROOT / "docs/semantic-conventions.md").read_text(encoding="utf-8")
    names = {value for name, value in vars(semconv).items() if name.isupper() and isinstance(value, str)}
    listed = set(re.findall(r"`((?:ire|gen_ai)\.[\w.]*)", text))
    assert {name for name in names if name.strip() not in text} == set()
    # `ire.stage.*` and `ire.score.META-12` stand for families.
    known = {*names, *(name.rstrip(".") for name in names)}
    prefixes = (semconv.SCORE_PREFIX, semconv.STAGE_PROMPT_PREFIX)
    assert {name for name in listed - known if not name.endswith(".") and not name.startswith(prefixes)} == set()


def test_every_setting_is_explained() -> None:
    """The configuration page has a row for every key, and its numbers are the defaults."""
    text = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w.<>]+)` \| (.*?) \|", text, re.MULTILINE)
    keys = {field.name for field in msgspec.structs.fields(Settings)} - {"projects"}
    keys |= {f"projects.<name>.{field.name}" for field in msgspec.structs.fields(ProjectSettings)}
    assert {key for key, _ in rows} == keys
    defaults = {field.name: field.default for field in msgspec.structs.fields(Settings)}
    numbers = {key: value for key, value in defaults.items() if isinstance(value, float)}
    assert {key: float(shown.strip("`")) for key, shown in rows if key in numbers} == numbers


def test_the_readme_example_runs(tmp_path: Path) -> None:
    """The example in the README is a whole program, and leaves one trace file with its decision."""
    example = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)[0]
    program = tmp_path / "pipeline.py"
    program.write_text(example, encoding="utf-8")
    environment = {**os.environ, "IRE_OTEL_RAISE": "1"}
    subprocess.run([sys.executable, program], cwd=tmp_path, env=environment, check=True, timeout=60)
    (written,) = tmp_path.glob("brain/projects/cobot/_traces/trc_*.json")
    document = msgspec.json.decode(written.read_bytes())
    assert [decision["what"] for decision in document["stages"]["intake"]["decisions"]] == ["validating"]
    assert document["run"]["intent"] == "validating"
    assert document["stages"]["quality_gate"]["gaps"][0]["id"] == "META-12"
