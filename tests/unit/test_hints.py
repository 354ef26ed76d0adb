"""Every `tidegate …` command that a message, a hint or a page names exists and parses with the real command line."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from spark_jobs.cli.app import app

CHECKOUT = Path(__file__).resolve().parents[2]
ROOT = typer.main.get_command(app)
SAMPLES = {  # what an f-string fills in, where it is not one word
    "_options()": "--from H --to H --env E",
    "{which}": "--hour H",
    "{span}": "--from H --to H",
    "{words}": "WORDS",
    "{hours}": "--from H --to H",
    "' '.join(words)": "status",
    "' '.join(command)": "status",
}
_COMMAND = re.compile(r"(?<![\w/.-])tidegate +([a-z][^\n;`…()|]*)")
_NO_COMMAND = ("that ", "takes ", "is ", "needs ", "demo:", "warm-up", "of ", "wrote", "views wrote", "left ")
GENERATED = CHECKOUT / "docs/reference/cli.md"  # from the app itself, with placeholders for its options
PAGES = [CHECKOUT / "README.md", *sorted(page for page in (CHECKOUT / "docs").rglob("*.md") if page != GENERATED)]


def _texts(path: Path) -> Iterator[tuple[int, str]]:
    """Texts of a module that people may read, f-strings with a word in place of each value; no docstring."""
    tree = ast.parse(path.read_text())
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value == "tidegate views":
            continue  # what a file of views says of itself
        if isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(_filled(part) for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and not {id(node)} & (docs | inside):
            yield node.lineno, node.value


def _filled(part: ast.expr) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    shown = ast.unparse(part)
    source = ast.unparse(part.value) if isinstance(part, ast.FormattedValue) else shown
    return next((sample for name, sample in SAMPLES.items() if name in f"{{{source}}}"), "1")


def _commands() -> Iterator[Any]:
    for folder in ("spark_jobs", "dags", "demo", "docker"):
        for path in sorted((CHECKOUT / folder).rglob("*.py")):
            for line, text in _texts(path):
                for match in _COMMAND.finditer(text):
                    if not match[1].startswith(_NO_COMMAND):
                        ticked = text[: match.start()].endswith("`")
                        where = f"{path.relative_to(CHECKOUT)}:{line}"
                        yield pytest.param(match[1].strip(), ticked, id=f"{where} {match[1][:40].strip()}")


def _parse(words: list[str], *, bare: bool) -> None:
    """Parse `words` without running anything; `bare`: naming a command without its arguments is enough."""
    command: Any = ROOT
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    assert command is not ROOT, f"no command {words[:1]}"
    if words[:1] == ["--help"] or (bare and not words):
        return
    assert not hasattr(command, "commands"), f"no command {words[:1]} of {command.name}"
    with command.make_context(command.name, words):
        pass


def _words(text: str) -> list[str]:
    """The words of a command up to where the sentence goes on."""
    text = re.split(
        r"(?:, |: |\. |  +#| and | asks | or | then | again | shows | starts | says: | ended )", f"{text} ", maxsplit=1
    )[0]
    return shlex.split(text.strip().rstrip(".,:"), comments=True)


@pytest.mark.parametrize(("text", "ticked"), _commands())
def test_a_command_in_a_message_parses(text: str, ticked: bool) -> None:
    whole = text.replace("WORDS", "PIPELINE MODEL" if text.startswith("model ") else "--from H --to H --env E")
    _parse(_words(whole), bare=ticked)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(CHECKOUT).as_posix())
def test_a_command_in_the_documentation_parses(path: Path) -> None:
    """Every line of a code block that begins with the program, and every such indented line or transcript."""
    is_code = False
    for line in path.read_text().splitlines():
        is_code ^= line.lstrip().startswith("```")
        found = re.match(r"^\s*(?:\$ |\.venv/bin/|docker-compose exec \S+ )*tidegate +([a-z].*)$", line)
        is_prose = not is_code and line.startswith("tidegate ")
        if found and not is_prose and not found[1].startswith(_NO_COMMAND):
            words = shlex.split(found[1].replace("…", "H"), comments=True)
            try:
                _parse(words, bare=False)
            except Exception as error:
                raise AssertionError(f"{path.name}: {line}: {error}") from None


@pytest.mark.parametrize(
    "text", ["nothing at all", "status --our H", "release list", "release lost p", "quarantine list"]
)
def test_control_a_wrong_command_is_caught(text: str) -> None:
    with pytest.raises(Exception, match="."):
        _parse(_words(text), bare=False)
