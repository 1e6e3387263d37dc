"""Try an installed package without its repository: python tests/check_wheel.py README.md.

`make dist` runs it with the Python of a fresh environment into which the wheel was installed: the
README's Python, and the apps. It imports nothing of the tests.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path


def run(*words):
    """Run a command in the present folder, quietly; its output is shown if it fails."""
    ran = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    if ran.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{ran.stdout}\n{ran.stderr}")
    print(f"ran: python {' '.join(words)}"[:100])


def main(readme):
    """Run everything in a temporary folder."""
    blocks = re.findall(r"```python\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        where = "import tf_gradvar, keras_apps; print(tf_gradvar.__file__, keras_apps.__file__)"
        found = subprocess.run(
            [sys.executable, "-c", where], capture_output=True, text=True, check=True
        )
        for path in found.stdout.split():
            if not Path(path).is_relative_to(sys.prefix):
                raise SystemExit(f"{path} is not of the wheel, which is in {sys.prefix}.")
        Path("readme.py").write_text("\n".join(blocks) + '\nmodel.save("model.keras")\n', "utf-8")
        run("readme.py")
        run("-m", "keras_apps.train", "--config", "digits_classes:quick", "--workdir", "run")
        run("-m", "keras_apps.study", "--config", "mnist5k_mlp:quick", "--workdir", "study")
        run("-m", "keras_apps.watch", "run", "--once", "page.html")
        for page in ("noise.html", "run/report.html", "study/report.html", "page.html"):
            assert Path(page).stat().st_size > 1000, page


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
