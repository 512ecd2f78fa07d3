"""Django's settings, and the client "billing" at a test server that also plays the billing API."""

import os

import django
import pytest
from django.test import override_settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
os.environ.setdefault("BILLING_SECRET", "not used in tests")
django.setup()  # pytest-django does this for you


@pytest.fixture
def billing(keeper, token_server):
    keeper.add_provider(token_server.provider("billing"))
    with override_settings(BILLING_API=f"{token_server.issuer}/api"):
        yield token_server
