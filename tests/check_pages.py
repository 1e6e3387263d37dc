"""Look at the pages of the documentation in a browser: python -m tests.check_pages FOLDER.

In windows of 400 and 1200 pixels nothing may be wider than the window, and the console must stay
empty. Where there is no Chromium or Chrome, nothing is looked at, and that is said.
"""

import sys
import tempfile
from pathlib import Path

from tests import browser

WINDOWS = 400, 1200
# Made by Sphinx, of source code and of names.
LEFT_OUT = "_modules", "genindex", "py-modindex", "search"


def main(folder):
    """Return how many pages are wrong."""
    if browser.executable() is None:
        print("No page was looked at in a browser: there is no Chromium or Chrome.")
        return 0
    pages = [
        path
        for path in sorted(folder.rglob("*.html"))
        if not any(part.startswith(LEFT_OUT) for part in path.relative_to(folder).parts)
    ]
    wrong = 0
    for path in pages:
        with tempfile.TemporaryDirectory() as place:
            found, console = browser.widths_of_file(path, Path(place), *WINDOWS)
        wide = {window: width for window, width in found.items() if width > window}
        if wide or console or set(found) != set(WINDOWS):
            wrong += 1
            print(f"{path.relative_to(folder)}: window and width {wide or found}, {console}")
    print(f"{len(pages)} pages in windows of {WINDOWS} pixels: {wrong} wrong")
    return wrong


if __name__ == "__main__":
    raise SystemExit(min(main(Path(sys.argv[1])), 1))
