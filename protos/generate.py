"""Generates the `_pb2` modules beside the .proto files; with --check compares them with what is there instead."""

from __future__ import annotations

import filecmp
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def generate(out: Path) -> list[Path]:
    """Compiles all definitions under the import name `headrace.protos`; returns the files made."""
    sources = [f"headrace/protos/{p.name}" for p in sorted(HERE.glob("*.proto"))]
    mapped = f"-Iheadrace/protos={HERE}"  # a virtual path, so that generated imports are absolute
    command = [sys.executable, "-m", "grpc_tools.protoc", mapped, f"--python_out={out}", f"--pyi_out={out}", *sources]
    subprocess.run(command, check=True, cwd=HERE.parent)
    return sorted((out / "headrace" / "protos").glob("*_pb2.py*"))


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        made = generate(Path(folder))
        if "--check" in sys.argv:
            stale = [f.name for f in made if not filecmp.cmp(f, HERE / f.name, shallow=False)]
            print(
                f"stale, run `make proto`: {', '.join(stale)}"
                if stale
                else f"{len(made)} generated files are up to date"
            )
            return len(stale)
        for file in made:
            shutil.copy(file, HERE / file.name)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
