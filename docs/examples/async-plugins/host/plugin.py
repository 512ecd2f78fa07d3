"""What the host offers a plugin."""

import threading
from importlib import import_module

from tokenkeeper import OAuth2TokenManager


class PluginThread(threading.Thread):
    """Runs a plugin's ``main(tokens)`` and keeps its result."""

    def __init__(self, name: str, tokens: OAuth2TokenManager) -> None:
        super().__init__(name=name)
        self.main = import_module(f"plugins.{name}").main
        self.tokens = tokens
        self.result = None

    def run(self) -> None:
        self.result = self.main(self.tokens)
