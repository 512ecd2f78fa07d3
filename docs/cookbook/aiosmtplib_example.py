import asyncio
import os
from email.message import EmailMessage

import aiosmtplib

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.aiosmtplib import authenticate

host, port = os.environ["SMTP_HOST"], int(os.environ.get("SMTP_PORT", "587"))

message = EmailMessage()
message["From"] = "me@example.com"
message["To"] = "you@example.com"
message.set_content("hello from aiosmtplib")


async def main(source):
    async with aiosmtplib.SMTP(hostname=host, port=port, start_tls=True) as client:
        await authenticate(client, source, os.environ["MAILBOX"])
        await client.send_message(message)
        print("sent")


with TokenKeeper.from_env() as keeper:
    asyncio.run(main(keeper.source("oauth2")))
