import imaplib
import os

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.imaplib import authenticate

host, port = os.environ["IMAP_HOST"], int(os.environ.get("IMAP_PORT", "993"))
connect = imaplib.IMAP4_SSL if port == 993 else imaplib.IMAP4

with TokenKeeper.from_env() as keeper, connect(host, port) as mailbox:
    authenticate(mailbox, keeper.source("oauth2"), os.environ["MAILBOX"])
    _, count = mailbox.select("INBOX", readonly=True)
    print(int(count[0]), "messages")
