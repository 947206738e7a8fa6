"""Help, usage errors and completion of the four programs, and what a terminal is shown."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import typer.main
from code_forensics.cli import index, make_starter, report, scan, train
from code_forensics.cli.help import arrange
from code_forensics.cli.progress import Busiest, _duration
from code_forensics.engine.pipeline.options import StageTimes

BIN = Path(sys.executable).parent
APPS = {
    "code-scan": (scan.app,),
    "code-index": (index.app,),
    "code-report": (report.app,),
    "code-train": (train.app, train.prepare_app, make_starter.app),
}
COMMANDS = [
    pytest.param(program, app, command, id=f"{program} {command.name or command.callback.__name__}")
    for program, apps in APPS.items()
    for app in apps
    for command in app.registered_commands
]


@pytest.mark.parametrize(("program", "app", "command"), COMMANDS)
def test_every_command_says_what_it_does_and_gives_an_example(program, app, command) -> None:
    assert command.help
    assert "\n\n\n" not in command.help
    examples = [line.strip() for line in (command.epilog or "").split("\n")[1:]]
    assert examples
    name = command.name or command.callback.__name__
    single = len(app.registered_commands) == 1 and app not in (train.prepare_app, make_starter.app)
    for example in examples:
        assert example.startswith("[bold]")
        assert program in example or "torchrun" in example
        assert single or f"{program} {name.rstrip('_')}" in example


@pytest.mark.parametrize("program", ["code-index", "code-report"])
def test_every_command_stands_in_a_group(program: str) -> None:
    for app in APPS[program]:
        for command in app.registered_commands:
            assert command.rich_help_panel, command.name or command.callback.__name__


@pytest.mark.parametrize(("program", "app", "command"), COMMANDS)
def test_every_option_has_help(program, app, command) -> None:
    made = typer.main.get_command(app)
    for sub in getattr(made, "commands", {"": made}).values():
        for parameter in sub.params:
            if parameter.param_type_name == "option":
                assert parameter.help, (program, sub.name, parameter.name)


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / arguments[0], *arguments[1:]],
        capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1", **environment},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("code-scan", "--bogus", "x"), "--bogus"),
        (("code-scan",), "PATH"),
        (("code-scan", "x", "-k", "0"), "-k"),
        (("code-scan", "x", "--decode-timeout", "1e10"), "--decode-timeout"),
        (("code-scan", "x", "--decode-timeout", "nan"), "--decode-timeout"),
        (("code-scan", "x", "--settle", "inf"), "finite"),
        (("code-scan", "x", "--workers", "100000"), "1024"),
        (("code-scan", "x", "--workspace", ""), "empty"),
        (("code-index", "build", "g", "--real", "", "--fake", "f"), "empty"),
        (("code-index", "evaluate", "g", ""), "empty"),
        (("code-scan", "x", "--fail-on", "everything"), "everything"),
        (("code-index", "frobnicate"), "frobnicate"),
        (("code-report", "show"), "SCAN"),
        (("code-train",), "--out"),
    ],
)
def test_a_usage_error_is_one_line_that_says_what_to_do(arguments, said: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
    assert "--help" in done.stderr


def test_many_paths_too_many_are_shown_in_part(tmp_path: Path) -> None:
    paths = [str(tmp_path / f"a photo {number}.jpg") for number in range(60)]
    done = run("code-index", "build", "g", "--fake", "f", "--real", *paths)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"({paths[1]} {paths[2]} and 57 more)" in done.stderr
    assert "--real takes one value: write it before each, or name the folder" in done.stderr
    done = run("code-report", "list", "a", "b")
    assert "(a b)" in done.stderr and "more" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        (("code-scan", ".", "--max-frames", "5"), "--frames all"),
        (("code-scan", ".", "--settle", "3"), "--watch"),
        (("code-scan", ".", "--thumbnail-mb", "0"), "--html FILE"),
        (("code-scan", ".", "--csv", "r.csv", "--no-thumbnails"), "--html FILE"),
        (("code-report", "export", "1", "--csv", "-", "--thumbnail-mb", "5"), "--html FILE"),
        (("code-report", "export", "1", "--csv", "-", "--no-thumbnails"), "--html FILE"),
        (("code-report", "verify", "1", "--seed", "0"), "--sample N"),
    ],
)
def test_an_option_without_effect_is_refused(arguments, needed: str, tmp_path: Path) -> None:
    done = run(*arguments, "--workspace", str(tmp_path / "ws"))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    option = [argument for argument in arguments if argument.startswith("--")][-1]
    assert f"{option} has no effect without {needed}; add {needed}, or drop {option}" in done.stderr
    assert not (tmp_path / "ws").exists()


def test_a_budget_for_no_pictures_is_refused(tmp_path: Path) -> None:
    done = run(
        *("code-scan", ".", "--html", "r.html", "--no-thumbnails", "--thumbnail-mb", "5"),
        *("--workspace", str(tmp_path / "ws")),
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "--no-thumbnails and --thumbnail-mb contradict each other" in done.stderr


def test_without_a_command_the_help_is_shown() -> None:
    done = run("code-report")
    assert done.returncode == 2
    assert "Judging again" in done.stdout


@pytest.mark.parametrize("program", APPS)
def test_completion_offers_options(program: str) -> None:
    name = program.upper().replace("-", "_")
    line = f"{program} --he"
    done = run(
        program,
        **{f"_{name}_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": "1"},
    )
    assert "--help" in done.stdout, done.stderr


@pytest.mark.parametrize("program", APPS)
def test_the_version_is_that_of_the_package(program: str) -> None:
    done = run(program, "--version")
    assert done.returncode == 0
    assert done.stdout == f"code-forensics {version('code-forensics')}\n"


@pytest.mark.parametrize(("program", "app", "command"), COMMANDS)
def test_h_is_help_everywhere(program, app, command) -> None:
    made = typer.main.get_command(app)
    for sub in (made, *getattr(made, "commands", {}).values()):
        assert "-h" in sub.make_context("x", [], resilient_parsing=True).help_option_names


@pytest.mark.parametrize("arguments", [("code-scan",), ("code-report", "list")])
def test_h_shows_the_help(arguments) -> None:
    assert run(*arguments, "-h").stdout == run(*arguments, "--help").stdout != ""


def test_narrow_help_fits() -> None:
    shown = run("code-scan", "--help", COLUMNS="40", TERMINAL_WIDTH="40").stdout
    assert max(map(len, shown.splitlines())) <= 40


def test_paragraphs_are_joined_and_examples_separated() -> None:
    app = typer.Typer()

    @app.command(epilog="Examples: [bold]a b[/]   [bold]c d[/]")
    def command() -> None:
        """One
        line.

        Two
        lines.
        """

    arrange(app)
    assert app.registered_commands[0].help == "One line.\n\nTwo lines."
    assert app.registered_commands[0].epilog == "Examples:\n  [bold]a b[/]\n  [bold]c d[/]"


def test_the_busiest_stage_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 0.5, 2.0, 2.0, 4.0, 4.0])
    monkeypatch.setattr("code_forensics.cli.progress.time.monotonic", lambda: next(now))
    times = StageTimes()
    busiest = Busiest(times)
    times.decode = 3.0
    assert busiest() == ""  # too early to say
    assert busiest() == "decoding"
    times.embed, times.decode = 2.0, 3.5
    assert busiest() == "embedding"


@pytest.mark.parametrize(("seconds", "text"), [(59, "59 s"), (600, "10 min"), (7200, "2.0 h")])
def test_durations_are_read_at_a_glance(seconds: float, text: str) -> None:
    assert _duration(seconds) == text
