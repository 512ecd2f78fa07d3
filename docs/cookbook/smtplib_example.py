import os
import smtplib
from email.message import EmailMessage

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.smtplib import authenticate

host, port = os.environ["SMTP_HOST"], int(os.environ.get("SMTP_PORT", "465"))
connect = smtplib.SMTP_SSL if port == 465 else smtplib.SMTP

message = EmailMessage()
message["From"] = "me@example.com"
message["To"] = "you@example.com"
message.set_content("hello from smtplib")

with TokenKeeper.from_env() as keeper, connect(host, port) as server:
    authenticate(server, keeper.source("oauth2"), os.environ["MAILBOX"])
    server.send_message(message)
    print("sent")
