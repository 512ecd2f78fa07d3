"""Sets the process-wide keeper when Django starts."""

from django.apps import AppConfig
from django.conf import settings

from tokenkeeper import TokenKeeper, set_default_keeper


class InvoicesConfig(AppConfig):
    """The application "invoices"."""

    name = "invoices"

    def ready(self):
        """Register the providers of the settings. This asks no server."""
        set_default_keeper(TokenKeeper.from_config(settings.TOKENS))
