"""A page in a headless Chromium: its console, and how wide it is in windows of given widths."""

import html
import re
import shutil
import subprocess

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
WRAPPER = """<!DOCTYPE html><html><body>{frames}<pre id="found"></pre><script>
window.addEventListener("load", () => setTimeout(() => {{
  document.getElementById("found").textContent = [...document.querySelectorAll("iframe")].map(
    frame => frame.width + ":" + frame.contentDocument.documentElement.scrollWidth).join(" ");
}}, 200));</script></body></html>"""


def executable():
    """The path of a browser, or None."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def widths(page, folder, *windows):
    """Window -> how wide a page (HTML) is in it, and what the browser said on its console."""
    return _widths(f'srcdoc="{html.escape(page)}"', folder, *windows)


def widths_of_file(path, folder, *windows):
    """The same of a page in a file, with what it links to."""
    return _widths(f'src="{path.resolve().as_uri()}"', folder, *windows)


def _widths(source, folder, *windows):
    frames = "".join(
        f'<iframe width="{width}" height="900" style="border: 0" {source}></iframe>'
        for width in windows
    )
    path = folder / "wrapper.html"
    path.write_text(WRAPPER.format(frames=frames), encoding="utf-8")
    command = [executable(), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += ["--enable-logging=stderr", "--virtual-time-budget=3000", "--window-size=1300,1000"]
    command += ["--allow-file-access-from-files"]
    command += [f"--user-data-dir={folder / 'profile'}", path.as_uri()]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120)
    (found,) = re.findall(r'<pre id="found">(.*?)</pre>', finished.stdout)
    console = [line for line in finished.stderr.splitlines() if "CONSOLE" in line]
    return dict(map(int, pair.split(":")) for pair in found.split()), console
