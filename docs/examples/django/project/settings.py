"""Settings of the project."""

import os

SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY", "only for tests")
ALLOWED_HOSTS = ["127.0.0.1", "testserver"]
ROOT_URLCONF = "project.urls"
INSTALLED_APPS = ["invoices"]
USE_TZ = True

BILLING_API = os.environ.get("BILLING_API", "https://billing.example.com")

OAUTH2 = [
    {
        "provider_name": "billing",
        "provider_type": "generic",
        "client_id": "invoices",
        "client_secret": "${BILLING_SECRET}",  # from the environment
        "token_url": "${BILLING_TOKEN_URL:-https://id.example.com/oauth2/token}",
        "scope": "read",
    },
]
