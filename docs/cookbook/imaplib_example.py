import imaplib
import os
import ssl

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.imaplib import authenticate

host, port = os.environ["IMAP_HOST"], int(os.environ.get("IMAP_PORT", "993"))
tls = ssl.create_default_context()  # without it, imaplib accepts any certificate

with (
    TokenKeeper.from_env() as keeper,
    imaplib.IMAP4_SSL(host, port, ssl_context=tls) as mailbox,
):
    authenticate(mailbox, keeper.source("oauth2"), os.environ["MAILBOX"])
    _, count = mailbox.select("INBOX", readonly=True)
    print(int(count[0]), "messages")
