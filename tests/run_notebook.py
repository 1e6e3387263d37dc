"""Run a notebook from start to end: python -m tests.run_notebook FILE [SENTENCE].

Fails if a cell fails, if the committed notebook holds outputs, or if no cell prints the sentence.
What ran is kept in docs/notebooks, for the documentation.
"""

import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient


def run_notebook(path: Path, sentence: str = "") -> None:
    """Execute every cell of a notebook in a fresh kernel."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.get("outputs") or cell.get("execution_count"):
            raise SystemExit(f"{path} is committed with outputs; clear them.")
    root = Path(__file__).parent.parent
    with tempfile.TemporaryDirectory() as folder:  # where notebooks write
        place = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=300, kernel_name="python3", resources=place).execute()
    printed = text_of(notebook)
    if sentence not in printed:
        raise SystemExit(f"{path} did not print {sentence!r}, but:\n{printed}")
    kept = root / "docs" / "notebooks" / path.name
    kept.parent.mkdir(exist_ok=True)
    nbformat.write(notebook, kept)
    cells = sum(cell.cell_type == "code" for cell in notebook.cells)
    print(f"{path}: {cells} cells ran")


def text_of(notebook: nbformat.NotebookNode) -> str:
    """Return what the cells of an executed notebook printed."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return "".join(output.get("text", "") for output in outputs)


if __name__ == "__main__":
    run_notebook(Path(sys.argv[1]), *sys.argv[2:])
