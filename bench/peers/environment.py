"""A virtual environment of a peer's own, made when it is first needed, and kept."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from .peer import Missing

#: Seconds that installing may take.
PATIENCE = 900
MADE = "made.txt"


@dataclass(frozen=True, slots=True)
class Environment:
    """folder: of this environment alone; requirements: pinned, as pip takes them."""

    folder: Path
    requirements: tuple[str, ...]

    def make(self) -> str:
        """Makes it, unless it was made of the same requirements, and tells what is in it. Raises Missing."""
        made = self.folder / MADE
        if not made.exists() or made.read_text() != self._wanted:
            self._run(sys.executable, "-m", "venv", "--clear", str(self.folder))
            self._run(str(self.python), "-m", "pip", "install", "--quiet", *self.requirements)
            made.write_text(self._wanted)
        return ", ".join(requirement.replace("==", " ") for requirement in self.requirements)

    @property
    def python(self) -> Path:
        return self.folder.resolve() / "bin" / "python"

    @property
    def packages(self) -> Path:
        """Where what is installed lies."""
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        return self.folder.resolve() / "lib" / version / "site-packages"

    @property
    def _wanted(self) -> str:
        return "\n".join([sys.version, *self.requirements])

    def _run(self, *command: str) -> None:
        try:
            subprocess.run(command, check=True, timeout=PATIENCE, capture_output=True, text=True)
        except (OSError, subprocess.SubprocessError) as error:
            said = getattr(error, "stderr", None) or str(error)
            raise Missing(f"cannot be installed: {said.strip().splitlines()[-1]}") from error
