"""How ``--help`` and ``-h`` read: full paragraphs, one example a line, commands in groups."""

import inspect
import re
from collections.abc import Mapping

import typer

_HELP = {"help_option_names": ["--help", "-h"]}
_EXAMPLE = re.compile(r"\[bold\](.*?)\[/(?:bold)?\]", re.DOTALL)


def arrange(app: typer.Typer, panels: Mapping[str, tuple[str, ...]] | None = None) -> None:
    """Prepare an application's help; called once, before it runs.

    Args:
        app: The application, all of its commands registered.
        panels: Names of commands by the heading that they stand under, in the order to show.
    """
    app.info.context_settings = {**_settings(app.info), **_HELP}
    for command in app.registered_commands:
        command.context_settings = {**_settings(command), **_HELP}
        text = command.help or inspect.getdoc(command.callback) or ""
        command.help = "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))
        command.epilog = _one_a_line(command.epilog)
    if panels:
        places = {name: panel for panel, names in panels.items() for name in names}
        order = list(places)
        named = [(_name(command), command) for command in app.registered_commands]
        for name, command in named:
            command.rich_help_panel = places.get(name)
        named.sort(key=lambda pair: order.index(pair[0]) if pair[0] in order else len(order))
        app.registered_commands = [command for _, command in named]


def _settings(info: "typer.models.TyperInfo | typer.models.CommandInfo") -> dict[str, object]:
    given = info.context_settings
    return dict(given) if isinstance(given, Mapping) else {}


def _name(command: "typer.models.CommandInfo") -> str:
    return command.name or str(getattr(command.callback, "__name__", ""))


def _one_a_line(epilog: str | None) -> str | None:
    examples = _EXAMPLE.findall(epilog or "")
    if not examples:
        return epilog
    lines = (f"  [bold]{' '.join(example.split())}[/]" for example in examples)
    return "\n".join(["Examples:" if len(examples) > 1 else "Example:", *lines])
