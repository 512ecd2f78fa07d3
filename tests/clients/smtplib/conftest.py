"""smtplib connects to Dovecot."""

from clients.on_dovecot import (  # noqa: F401
    keeper,
    mail,
    relay,
    requests_of,
    server,
    servers,
    user,
)
