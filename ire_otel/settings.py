"""The settings: ire_otel.toml, overridden by IRE_OTEL_* variables, overridden by arguments.

Nothing else in the package reads the environment.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_args

import msgspec

from ire_otel.errors import ConfigurationError
from ire_otel.locations import project_folder

ENVIRONMENT_PREFIX: Final = "IRE_OTEL_"
FILE_NAME: Final = "ire_otel.toml"

FlagPolicy = Literal["rate", "count"]
"""How a principle is found to need calibration (docs/calibration-flags.md)."""
ContentPolicy = Literal["full", "preview", "none"]
"""How much of a run's content an exporter gets: all, the first characters of each value, or none of it."""


class ProjectSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one project does differently (`[projects.<name>]`)."""

    enabled: bool = True
    """False: runs of this project are not traced at all."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be configured, with its default."""

    exporters: tuple[str, ...] = ("ire",)
    """Where runs go: `ire` (trace file and row), `otlp`, `console`, `otlp-json-file`, `none`, or any name that
    OpenTelemetry knows."""
    brain_dir: Path = Path("brain")
    """Folder of all projects, reports and trace files; relative to the working directory."""
    state_dir: Path = Path()
    """Folder on a local disk for what is not finished yet; default `_spool` in brain_dir."""
    durability: Literal["process", "disk", "off"] = "process"
    """What the journal of a run survives: the death of the process, that of the machine as well, or nothing (`off`)."""
    database_url: str = ""
    """`sqlite:///<file>` or `postgresql://…`; default the file `traces.db` in brain_dir."""
    pooler: Literal["", "transaction"] = ""
    """`transaction` behind pgbouncer or Supavisor in transaction mode (port 6543 is recognised by itself)."""
    enabled: bool = True
    """False: nothing is traced."""
    projects: dict[str, ProjectSettings] = {}
    """Settings of single projects, by project name."""
    otlp_protocol: Literal["http/protobuf", "grpc"] = "http/protobuf"
    """How the `otlp` exporter talks; also OTEL_EXPORTER_OTLP_PROTOCOL. Its address is OTEL_EXPORTER_OTLP_ENDPOINT."""
    otlp_json_file: Path = Path()
    """File that the `otlp-json-file` exporter appends to; default `spans.jsonl` in brain_dir."""
    jaeger_url: str = ""
    """Where Jaeger's page is, e.g. `http://localhost:16686`; `ire-otel show` and rows then link to the run in it."""
    redact: bool = True
    """False: secrets are written and sent as they were recorded."""
    redact_patterns: dict[str, str] = {}
    """More secrets to take out: by the kind that the mark names, a regular expression in RE2's syntax."""
    content: dict[str, ContentPolicy] = {}
    """What exporters other than `ire` get of a run's content, by exporter; the default is `full`."""
    link_reports: bool = False
    """True: a finished run goes into the frontmatter of the Markdown report that its outputs.report_path names."""
    flag_policies: tuple[FlagPolicy, ...] = ("rate", "count")
    """Policies that look, after runs are written, whether a principle began to fail; none: nothing looks by itself."""
    finish_timeout: float = 5.0
    """Seconds that `finish` waits for file and row."""
    shutdown_timeout: float = 30.0
    """Seconds that the end of the process waits for runs that are not written yet."""
    settle_after: float = 600.0
    """Seconds for which late spans of a finished run are still merged into its document."""
    grace_period: float = 2.0
    """Seconds that ResearchExporter, where it works without RunProcessor, waits for late children of a finished run."""
    incomplete_after: float = 3600.0
    """Seconds without a span after which `ire-otel serve` writes a run whose own span has not come as `incomplete`."""
    raise_errors: bool = False
    """True: errors inside ire-otel are raised instead of logged (IRE_OTEL_RAISE=1; for tests of ire-otel itself)."""

    def __post_init__(self) -> None:
        """Work out what depends on other settings."""
        brain = Path(self.brain_dir).expanduser().absolute()
        set_once = msgspec.structs.force_setattr
        set_once(self, "brain_dir", brain)
        chosen = brain / "_spool" if self.state_dir == Path() else self.state_dir
        set_once(self, "state_dir", chosen.expanduser().absolute())
        appended = brain / "spans.jsonl" if self.otlp_json_file == Path() else self.otlp_json_file
        set_once(self, "otlp_json_file", appended.expanduser().absolute())
        set_once(self, "database_url", self.database_url or f"sqlite:///{brain / 'traces.db'}")

    def jaeger_link(self, otel_trace_id: str | None) -> str | None:
        """Give the address of a trace in Jaeger's page; None where nobody said where that is."""
        return f"{self.jaeger_url.rstrip('/')}/trace/{otel_trace_id}" if self.jaeger_url and otel_trace_id else None

    def enabled_for(self, project: str | None) -> bool:
        """Tell whether runs of `project` are traced."""
        chosen = self.projects.get(project or "")
        return self.enabled and (chosen is None or chosen.enabled)

    def project_dir(self, project: str | None) -> Path:
        """Give the folder of a project: `{brain_dir}/projects/{safe name}`."""
        return self.brain_dir / f"projects/{project_folder(project)}"

    def trace_file(self, project: str | None, trace_id: str) -> Path:
        """Give the path of a run's trace file."""
        return self.brain_dir / f"projects/{project_folder(project)}/_traces/{trace_id}.json"

    def location(self, path: Path) -> str:
        """Give `path` as rows name it: from the brain folder's own name on (`brain/projects/…`)."""
        return f"{self.brain_dir.name}/{path.relative_to(self.brain_dir).as_posix()}"

    def resolve(self, location: str) -> Path:
        """Give the file that a row's `trace_file_path` names, in the brain folder as it is configured now."""
        return self.brain_dir.joinpath(*Path(location).parts[1:])


def load(
    overrides: Mapping[str, Any] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Settings:
    """Read the settings of `folder` (the working directory), then the environment, then `overrides`.

    Raises ConfigurationError, which names the key, where it stands, and the nearest valid one.
    """
    chosen, problems = load_leniently(overrides, environment=environment, folder=folder)
    if problems:
        raise problems[0]
    return chosen


def load_leniently(
    overrides: Mapping[str, Any] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> tuple[Settings, list[ConfigurationError]]:
    """Read what can be used of the settings; gives what could not, too."""
    variables = os.environ if environment is None else environment
    problems: list[ConfigurationError] = []
    given: dict[str, Any] = {}
    try:
        sources = [_from_file(folder or Path.cwd())]
    except ConfigurationError as problem:
        problems.append(problem)
        sources = []
    sources += [("the environment", _from_environment(variables)), ("configure()", dict(overrides or {}))]
    for place, values in sources:
        for key, value in values.items():
            try:
                given[key] = _checked(key, value, place)
                if key == "redact_patterns":
                    given[key] = _usable_patterns(given[key], place, problems)
            except ConfigurationError as problem:
                problems.append(problem)
    return Settings(**given), problems


def with_exporters(chosen: Settings, exporters: tuple[str, ...]) -> Settings:
    """Give the same settings with other exporters, and none of what was said about the former ones."""
    return msgspec.structs.replace(chosen, exporters=exporters, content={})


def tracing_switched_off(environment: Mapping[str, str] | None = None) -> bool:
    """Tell whether OTEL_SDK_DISABLED turns OpenTelemetry, and so ire-otel, off."""
    variables = os.environ if environment is None else environment
    return variables.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def opentelemetry_exporters(environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Give the exporters that OpenTelemetry's own set-up attaches to the provider it makes."""
    variables = os.environ if environment is None else environment
    if variables.get("OTEL_CONFIG_FILE"):
        return ()  # the file says which, and it is OpenTelemetry's to read
    names = [name.strip() for name in variables.get("OTEL_TRACES_EXPORTER", "").split(",")]
    return tuple("otlp" if name.startswith("otlp_proto_") else name for name in names if name)


def carried_context(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give the trace context that a process was started with, as OpenTelemetry's propagators read it."""
    variables = os.environ if environment is None else environment
    return {name: variables[name.upper()] for name in _CARRIED if name.upper() in variables}


def opentelemetry_variables(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give the variables that OpenTelemetry itself reads; some hold secrets."""
    variables = os.environ if environment is None else environment
    return {name: value for name, value in variables.items() if name.startswith("OTEL_")}


def serve_token(file: Path | None = None, *, environment: Mapping[str, str] | None = None) -> str | None:
    """Give the bearer token of `ire-otel serve`: what `file` holds, else IRE_OTEL_SERVE_TOKEN; None without either.

    It is no setting, so that nothing that shows settings can show it. Raises ConfigurationError where a file is given
    and holds none.
    """
    variables = os.environ if environment is None else environment
    if file is None:
        return variables.get(_SERVE_TOKEN, "").strip() or None
    try:
        token = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it holds more than ASCII"
        raise ConfigurationError(f"token file {file} cannot be read: {reason}; name a file with the token") from error
    if not token:
        raise ConfigurationError(f"token file {file} is empty; write the token into it")
    return token


def raises_errors() -> bool:
    """Tell whether IRE_OTEL_RAISE asks for internal errors to be raised; needed before settings could be read."""
    return os.environ.get("IRE_OTEL_RAISE", "") in {"1", "true"}


def _from_file(folder: Path) -> tuple[str, dict[str, Any]]:
    own, project = folder / FILE_NAME, folder / "pyproject.toml"
    if own.is_file():
        return str(own), _parsed(own)
    if project.is_file():
        return f"[tool.ire_otel] in {project}", _parsed(project).get("tool", {}).get("ire_otel", {})
    return str(own), {}


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}; mend the file") from error
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}; mend its permissions") from error


def _from_environment(variables: Mapping[str, str]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    protocol = variables.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or variables.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if protocol:
        given["otlp_protocol"] = protocol
    for variable, text in variables.items():
        if variable.startswith(ENVIRONMENT_PREFIX) and text and variable != _SERVE_TOKEN:
            key = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
            key = "raise_errors" if key == "raise" else key
            given[key] = [name.strip() for name in text.split(",") if name.strip()] if key in _LISTS else text
    return given


def _checked(key: str, value: Any, place: str) -> Any:
    if key not in _TYPES:
        nearest = difflib.get_close_matches(key, _TYPES, n=1)
        remedy = f"did you mean {nearest[0]!r}?" if nearest else f"valid are {', '.join(sorted(_TYPES))}"
        raise ConfigurationError(f"unknown setting {key!r} in {place}: {remedy}")
    if key in _LISTS and isinstance(value, str):
        value = [value]
    if key == "content" and isinstance(value, Mapping):
        _check_policies(value, place)
    if key == "jaeger_url" and isinstance(value, str) and not value.startswith(("http://", "https://")):
        raise ConfigurationError(
            f"setting {key!r} in {place} cannot be {value!r}: give http://<host>:16686, or the like"
        )
    # Only the environment gives everything as text, so only there does "5" stand for a number.
    lax = place == "the environment"
    try:
        return msgspec.convert(value, _TYPES[key], strict=not lax, dec_hook=_path)
    except (msgspec.ValidationError, TypeError) as error:
        raise ConfigurationError(f"setting {key!r} in {place} cannot be {value!r}: {error}") from error


def _check_policies(policies: Mapping[Any, Any], place: str) -> None:
    known = get_args(ContentPolicy)
    for exporter, policy in policies.items():
        if policy not in known:
            nearest = difflib.get_close_matches(str(policy), known, n=1)
            remedy = f"did you mean {nearest[0]!r}?" if nearest else f"valid are {', '.join(known)}"
            raise ConfigurationError(f"setting 'content.{exporter}' in {place} cannot be {policy!r}: {remedy}")


def _usable_patterns(given: Mapping[str, str], place: str, problems: list[ConfigurationError]) -> dict[str, str]:
    """Give the patterns that can be used: one mistake must not let through what the others find."""
    from ire_otel import patterns  # loads RE2, which `import ire_otel` need not

    usable = {}
    for name, pattern in given.items():
        key = f"setting 'redact_patterns.{name}' in {place}"
        try:
            patterns.compiled(pattern)
        except ValueError as error:
            problems.append(ConfigurationError(f"{key} cannot be {pattern!r}: {error}"))
            continue
        if _KIND_NAME.fullmatch(name):
            usable[name] = pattern
        else:
            remedy = "name the kind of secret with letters, digits, '.', '_' and '-'"
            problems.append(ConfigurationError(f"{key} cannot be marked by that name: {remedy}"))
    return usable


def _path(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    raise TypeError(f"expected a {'path' if kind is Path else kind.__name__}")


_TYPES: Final[dict[str, Any]] = {field.name: field.type for field in msgspec.structs.fields(Settings)}
_CARRIED: Final = ("traceparent", "tracestate", "baggage")
_LISTS: Final = ("exporters", "flag_policies")
_SERVE_TOKEN: Final = f"{ENVIRONMENT_PREFIX}SERVE_TOKEN"
_KIND_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
