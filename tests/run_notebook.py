"""Run a notebook from start to end at a small size: python -m tests.run_notebook FILE.

Fails if a cell fails, or if the committed notebook holds outputs.
"""

import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient


def run_notebook(path: Path) -> None:
    """Execute every cell of a notebook in a fresh kernel, beside the repository."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.get("outputs") or cell.get("execution_count"):
            raise SystemExit(f"{path} is committed with outputs; clear them.")
    os.environ.setdefault("QUICKSTART_STEPS", "60")
    root = Path(__file__).parent.parent
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(root)}}
    ).execute()
    cells = sum(cell.cell_type == "code" for cell in notebook.cells)
    print(f"{path}: {cells} cells ran")


if __name__ == "__main__":
    run_notebook(Path(sys.argv[1]))
