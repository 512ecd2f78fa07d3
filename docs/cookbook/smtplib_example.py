import os
import smtplib
import ssl
from email.message import EmailMessage

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.smtplib import authenticate

host, port = os.environ["SMTP_HOST"], int(os.environ.get("SMTP_PORT", "587"))
tls = ssl.create_default_context()  # without it, smtplib accepts any certificate

message = EmailMessage()
message["From"] = "me@example.com"
message["To"] = "you@example.com"
message.set_content("hello from smtplib")

with TokenKeeper.from_env() as keeper, smtplib.SMTP(host, port) as server:
    server.starttls(context=tls)
    authenticate(server, keeper.source("oauth2"), os.environ["MAILBOX"])
    server.send_message(message)
    print("sent")
