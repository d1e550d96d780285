"""mypy over the whole package: the folders are linked under one import name, as an installation lays them out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TREE = ROOT / "build" / "typed"
PARTS = ("server", "training", "export", "protos", "bench")


def link() -> None:
    """build/typed/headrace: everything of headrace/ and the other folders, by links."""
    package = TREE / "headrace"
    package.mkdir(parents=True, exist_ok=True)
    links = {package / entry.name: entry for entry in (ROOT / "headrace").iterdir() if entry.name != "__pycache__"}
    links |= {package / part: ROOT / part for part in PARTS}
    for stale in set(package.iterdir()) - links.keys():
        stale.unlink()
    for place, target in links.items():
        if not place.exists():
            place.symlink_to(target)


def main() -> int:
    link()
    command = [sys.executable, "-m", "mypy", "--strict", "-p", "headrace"]
    return subprocess.run(
        command, check=False, cwd=TREE, env={"MYPYPATH": str(TREE), "PATH": "", "HOME": str(ROOT)}
    ).returncode


if __name__ == "__main__":
    raise SystemExit(main())
