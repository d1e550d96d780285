"""A Dockerfile read as data, and a stage of it carried out without an engine, below a folder of this machine."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_FLAG = re.compile(r"--[a-z-]+=\S+\s+")


@dataclass(frozen=True, slots=True)
class Instruction:
    """Its name in capitals, and all behind the name, lines joined."""

    name: str
    text: str

    @property
    def command(self) -> str:
        """The text without the builder's own flags at its beginning (--from=…, --mount=…)."""
        text = self.text
        while flag := _FLAG.match(text):
            text = text[flag.end() :]
        return text

    @property
    def words(self) -> list[str]:
        return self.command.split()

    @property
    def exec_form(self) -> list[str]:
        """The JSON array of an ENTRYPOINT, CMD or HEALTHCHECK; ValueError if it is in the shell's form."""
        words: list[str] = json.loads(self.text[self.text.index("[") :])
        return words


@dataclass(frozen=True, slots=True)
class Stage:
    """From one FROM to the next."""

    base: str
    instructions: tuple[Instruction, ...]

    def all(self, name: str) -> list[Instruction]:
        return [i for i in self.instructions if i.name == name]

    def last(self, name: str) -> Instruction:
        """The one that counts, where an instruction may be given again. Raises IndexError if there is none."""
        return self.all(name)[-1]

    @property
    def env(self) -> dict[str, str]:
        return dict(word.split("=", 1) for i in self.all("ENV") for word in i.words)


def stages(file: Path) -> list[Stage]:
    """In order; what stands before the first FROM belongs to none."""
    found: list[tuple[str, list[Instruction]]] = []
    for instruction in instructions(file.read_text()):
        if instruction.name == "FROM":
            found.append((instruction.text, []))
        elif found:
            found[-1][1].append(instruction)
    return [Stage(base, tuple(below)) for base, below in found]


def instructions(text: str) -> Iterator[Instruction]:
    """Comment lines go, also those between continued lines; a backslash at its end joins a line with the next."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        name, _, rest = line.strip().partition(" ")
        yield Instruction(name.upper(), rest.strip())


@dataclass(frozen=True, slots=True)
class Builder:
    """`folders`, absolute in the image, lie below `root` here; `env` is what RUN's shell gets."""

    context: Path
    root: Path
    folders: tuple[str, ...]
    env: Mapping[str, str]

    def moved(self, text: str) -> str:
        """`text` with the image's folders at their place here."""
        names = "|".join(map(re.escape, self.folders))
        return re.sub(rf"(?<![\w./])({names})(?![\w.-])", rf"{self.root}\1", text)

    def build(self, stage: Stage) -> None:
        """COPY from the context, and RUN. Raises AssertionError, with all its output, if a command fails."""
        workdir = Path(self.moved(stage.last("WORKDIR").text))
        workdir.mkdir(parents=True)
        for instruction in stage.instructions:
            if instruction.name == "COPY":
                self._copy(workdir, *instruction.words)
            elif instruction.name == "RUN":
                self._run(workdir, self.moved(instruction.command))

    def _copy(self, workdir: Path, *words: str) -> None:
        *sources, target = words
        for source in (self.context / name for name in sources):
            if source.is_dir():
                shutil.copytree(source, workdir / target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, workdir / target)

    def _run(self, workdir: Path, command: str) -> None:
        shell = ["sh", "-ec", command]
        done = subprocess.run(shell, check=False, cwd=workdir, env=self.env, text=True, capture_output=True)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
