"""Settings of the project."""

import os

SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY", "only for tests")
ALLOWED_HOSTS = ["127.0.0.1", "testserver"]
ROOT_URLCONF = "project.urls"
INSTALLED_APPS = ["invoices", "customers"]
MIDDLEWARE = ["django.contrib.sessions.middleware.SessionMiddleware"]
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
USE_TZ = True

BILLING_API = os.environ.get("BILLING_API", "https://billing.example.com")
HUBSPOT_API = os.environ.get("HUBSPOT_API", "https://api.hubapi.com")

TOKENS = {
    "store": "${TOKEN_STORE:-sqlite:///tokens.db}",  # shared by web processes and Celery workers
    "oauth2": [
        {
            "provider_name": "billing",
            "provider_type": "generic",
            "client_id": "invoices",
            "client_secret": "${BILLING_SECRET}",  # from the environment
            "token_url": "${BILLING_TOKEN_URL:-https://id.example.com/oauth2/token}",
            "scope": "read",
        },
        {
            "provider_name": "hubspot",
            "provider_type": "generic",
            "grant": "authorization_code",
            "client_id": "${HUBSPOT_CLIENT:-the-id-of-your-app}",
            "client_secret": "${HUBSPOT_SECRET:-only for tests}",
            "token_endpoint_auth_method": "client_secret_post",
            "token_url": "${HUBSPOT_TOKEN_URL:-https://api.hubapi.com/oauth/v1/token}",
            "endpoints": {
                "authorization_endpoint": (
                    "${HUBSPOT_SIGN_IN:-https://app.hubspot.com/oauth/authorize}"
                ),
            },
            "scope": "oauth crm.objects.contacts.read",
        },
    ],
}
