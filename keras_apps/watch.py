"""Show a training that is still running as a page that reloads.

    python -m keras_apps.watch runs/x
    python -m keras_apps.watch variance.jsonl --port 8010 --every 5
    python -m keras_apps.watch runs/x --once page.html

What is watched is a workdir of `keras_apps.train` or `keras_apps.study`, or the file that a
`GradientVarianceLogger(path=...)` of your own training writes. The page is served to this machine
alone until Ctrl-C; the training knows nothing of it.
"""

from __future__ import annotations

import argparse
import functools
import http.server
from collections.abc import Sequence
from pathlib import Path

from keras_apps.argument_parser import argument_parser
from keras_apps.reporting.live_page import Live, live_report
from tf_gradvar.pages import page

NAME = "keras_apps.watch"
HOST = "127.0.0.1"


def page_of(path: Path, every: int | None = None) -> str:
    """Return the page of what was written so far.

    Args:
        path: A workdir, or the file of a logger.
        every: Seconds after which a browser reloads it. Defaults to None, never.

    Raises:
        FileNotFoundError: There is neither.
    """
    return page(live_report(Live.read(path)), every)


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with the page as it is now."""

    def __init__(self, path: Path, every: int, *arguments: object):
        self.watched, self.every = path, every
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Send the page; anything else is not found."""
        if self.path != "/":
            self.send_error(404)
            return
        body = page_of(self.watched, self.every).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Print nothing for a request."""


def server(path: Path, port: int, every: int) -> http.server.HTTPServer:
    """Return a server of the page, one request at a time; port 0 takes a free one."""
    return http.server.HTTPServer((HOST, port), functools.partial(Handler, path, every))


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    made = argument_parser(NAME, __doc__)
    made.add_argument("path", type=Path, help="a workdir, or the file of a logger")
    made.add_argument("--port", type=int, default=8008, help="default: 8008; 0 takes a free one")
    made.add_argument("--every", type=int, default=10, metavar="S", help="seconds; default: 10")
    made.add_argument("--once", type=Path, metavar="FILE", help="write the page and end")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit status, 0.

    Raises:
        SystemExit: With status 2, for a path that is not there or a number out of its range.
    """
    reader = parser()
    parsed = reader.parse_args(arguments)
    if parsed.every < 1:
        reader.error(f"`--every` must be at least 1 second. Received: --every {parsed.every}.")
    try:
        Live.read(parsed.path)
        if parsed.once is not None:
            parsed.once.write_text(page_of(parsed.path), encoding="utf-8")
            print(f"Page: {parsed.once}")
            return 0
        with server(parsed.path, parsed.port, parsed.every) as serving:
            print(f"http://{HOST}:{serving.server_port}/ until Ctrl-C", flush=True)
            serving.serve_forever()
    except KeyboardInterrupt:
        print()
    except (OSError, OverflowError) as error:
        reader.error(str(error))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
