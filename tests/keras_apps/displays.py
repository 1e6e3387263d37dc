"""A display that asks for a stop at a step, and knows which steps were shown."""

from rich.console import Console

from keras_apps.running.progress import Display


class Request:
    """An interruption that comes at a step; the display tells it."""

    def __init__(self, step=None):
        self.step, self.requested = step, False


class Shown(Display):
    def __init__(self, request):
        super().__init__(Console(quiet=True), 1)
        self.request, self.steps = request, []

    def show_step(self, step):
        self.steps.append(step)
        self.request.requested |= step == self.request.step
