"""Dovecot with IMAP and submission: it asks the authorization server about each token."""

import os
import pwd
import shutil
import ssl
import tempfile
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import trustme

from kit.programs import Program, free_port, program

CONFIGURATION = """\
base_dir = {folder}/run
state_dir = {folder}/state
log_path = /dev/stderr
protocols = imap submission
listen = 127.0.0.1
ssl = yes
ssl_cert = <{folder}/certificate.pem
ssl_key = <{folder}/key.pem
disable_plaintext_auth = no
default_internal_user = {user}
default_login_user = {login_user}
default_internal_group = {group}
auth_mechanisms = oauthbearer xoauth2
auth_failure_delay = 0
auth_cache_size = 0
mail_location = maildir:{folder}/mail/%u
first_valid_uid = 1
mail_max_userip_connections = 100
passdb {{
  driver = oauth2
  mechanisms = oauthbearer xoauth2
  args = {folder}/oauth2.conf
}}
userdb {{
  driver = static
  args = uid={user} gid={group} home={folder}/mail/%u
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
    ssl = yes
  }}
}}
service submission-login {{
  chroot =
  inet_listener submission {{
    port = {submission}
  }}
}}
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
submission_relay_host = 127.0.0.1
submission_relay_port = {relay}
"""

OAUTH2 = """\
introspection_mode = post
introspection_url = {url}
username_attribute = client_id
active_attribute = active
active_value = true
"""


class Dovecot(Program):
    """A running server.

    :ivar port: the port for IMAP.
    :ivar submission_port: the port for submission.
    :ivar imaps_port: the port for IMAP by TLS.
    :ivar ca_file: the certificate of the CA that issued the server's.
    :ivar context: the TLS context of clients that trust its certificate.
    """


@contextmanager
def running(server, relay_port):
    """Run a server that asks *server* about tokens, and relays mail to a port."""
    command = program("dovecot", "/usr/sbin", package="dovecot-imapd and dovecot-submissiond")
    # Not one of pytest's folders: other users can't enter those, and names of sockets are short.
    folder = Path(tempfile.mkdtemp(prefix="dovecot-", dir="/tmp"))
    try:
        folder.chmod(0o755)
        root = os.getuid() == 0
        me = pwd.getpwuid(os.getuid()).pw_name
        user, login_user = ("dovecot", "dovenull") if root else (me, me)
        (folder / "mail").mkdir()
        if root:
            shutil.chown(folder / "mail", user, user)
        imap, imaps, submission = (free_port() for _ in range(3))
        text = CONFIGURATION.format(
            folder=folder,
            user=user,
            login_user=login_user,
            group="dovecot" if root else me,
            imap=imap,
            imaps=imaps,
            submission=submission,
            relay=relay_port,
        )
        authority = trustme.CA()
        certificate = authority.issue_cert("localhost", "127.0.0.1")
        authority.cert_pem.write_to_path(folder / "ca.pem")
        certificate.private_key_pem.write_to_path(folder / "key.pem")
        certificate.cert_chain_pems[0].write_to_path(folder / "certificate.pem")
        secret = quote(server.client_secret, safe="")
        url = server.introspection_url.replace("//", f"//{server.client_id}:{secret}@")
        (folder / "oauth2.conf").write_text(OAUTH2.format(url=url))
        (folder / "dovecot.conf").write_text(text)
        with Dovecot(
            command, "-F", "-c", folder / "dovecot.conf", port=imap, folder=folder
        ) as running:
            running.submission_port = submission
            running.imaps_port = imaps
            running.ca_file = folder / "ca.pem"
            running.context = ssl.create_default_context(cafile=running.ca_file)
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)
