# SPDX-License-Identifier: GPL-2.0-only
"""A real mail relay for the laboratory's mail host: Postfix, Dovecot's password check, TLS.

The gate is worth something only in front of a relay that asks for the password, so the tests and
the demo use the real thing: ports 25, 465 (TLS from the first byte) and 587 (STARTTLS); a password
is asked for on 465 and 587, over TLS only. Everything lies in a private directory on the mail
host; neither /etc/postfix nor any service of the machine is touched. Mail that is accepted goes
into a file below that directory.

What makes it quick (0.2 s), all needed: the queue directories are made by hand instead of by
`postfix start`; the .cf files look 10 s old (Postfix waits on fresher ones); Dovecot gets no
descriptor to hold open.
"""
import grp
import os
import pwd
import signal
import time

import lab as laboratory

DIR = laboratory.MNT + "/relay"
DOMAIN = "mail.example"
USERS = {"alice": "wonder-4711", "bob": "builder-0815"}
WRONG = "guessed-1234"
SENT, REFUSED, SILENT = "250", "535", "no connection"

DOVECOT = """
base_dir = {dir}/dovecot/run
state_dir = {dir}/dovecot/run
protocols =
ssl = no
# Postfix hands the password over by a local socket; between client and Postfix there is TLS.
disable_plaintext_auth = no
log_path = {dir}/log/dovecot.log
auth_mechanisms = plain login
auth_verbose = yes
auth_failure_delay = 0
auth_cache_size = 0
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%n {dir}/dovecot/users
}}
userdb {{
  driver = static
  args = uid=65534 gid=65534 home=/nonexistent
}}
service auth {{
  unix_listener {dir}/queue/private/auth {{
    mode = 0660
    user = postfix
    group = postfix
  }}
}}
service anvil {{
  chroot =
  # no growing delay after wrong passwords: the tests send them on purpose
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
"""

MAIN_CF = """
compatibility_level = 3.6
queue_directory = {dir}/queue
data_directory = {dir}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = {dir}/log/mail.log
maillog_file_prefixes = {dir}
myhostname = {domain}
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
relayhost =
inet_interfaces = all
inet_protocols = all
mynetworks = 127.0.0.0/8 [::1]/128
virtual_mailbox_domains = static:ALL
virtual_mailbox_base = {dir}/mailbox
virtual_mailbox_maps = static:inbox
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
virtual_minimum_uid = 100
smtpd_sasl_type = dovecot
smtpd_sasl_path = private/auth
smtpd_sasl_auth_enable = no
smtpd_tls_auth_only = yes
smtpd_tls_cert_file = {dir}/tls/cert.pem
smtpd_tls_key_file = {dir}/tls/key.pem
smtpd_tls_security_level = may
smtpd_peername_lookup = no
smtpd_error_sleep_time = 0
smtpd_hard_error_limit = 1000
smtpd_client_connection_count_limit = 0
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
disable_dns_lookups = yes
"""

MASTER_CF = """
25        inet      n - n - - smtpd
587       inet      n - n - - smtpd
  -o smtpd_tls_security_level=encrypt
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_recipient_restrictions=permit_sasl_authenticated,reject
465       inet      n - n - - smtpd
  -o smtpd_tls_wrappermode=yes
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_recipient_restrictions=permit_sasl_authenticated,reject
pickup    unix      n - n 60 1 pickup
cleanup   unix      n - n - 0 cleanup
qmgr      unix      n - n 300 1 qmgr
tlsmgr    unix      - - n 1000? 1 tlsmgr
rewrite   unix      - - n - - trivial-rewrite
bounce    unix      - - n - 0 bounce
defer     unix      - - n - 0 bounce
trace     unix      - - n - 0 bounce
verify    unix      - - n - 1 verify
proxymap  unix      - - n - - proxymap
flush     unix      n - n 1000? 0 flush
error     unix      - - n - - error
retry     unix      - - n - - error
virtual   unix      - n n - - virtual
anvil     unix      - - n - 1 anvil
smtp      unix      - - n - - smtp
postlog   unix-dgram n - n - 1 postlogd
"""


class Relay:
    """Postfix and Dovecot on a host of the laboratory."""

    def __init__(self, host, postconf=()):
        self.host = host
        self._files()
        for args in postconf:
            host.run("postconf", "-c", f"{DIR}/postfix", *args)
        for name in ("main.cf", "master.cf"):   # postconf wrote them anew
            os.utime(host.path(f"{DIR}/postfix/{name}"), (time.time() - 10,) * 2)
        started = time.monotonic()
        self._daemon("dovecot", "-c", f"{DIR}/dovecot/dovecot.conf")
        # -w: returns when the ports are open
        self._daemon("/usr/lib/postfix/sbin/master", "-c", f"{DIR}/postfix", "-w")
        laboratory.until(lambda: host.path(f"{DIR}/queue/private/auth").exists())
        self.start_time = time.monotonic() - started

    def _files(self):
        top = self.host.path(DIR)
        postfix, postdrop = pwd.getpwnam("postfix").pw_uid, grp.getgrnam("postdrop").gr_gid

        def folder(name, user=0, group=0, mode=0o755):
            path = top / name
            path.mkdir(parents=True, exist_ok=True)
            os.chown(path, user, group)
            path.chmod(mode)

        def file(name, text, mode=0o644, group=0):
            path = top / name
            path.write_text(text.format(dir=DIR, domain=DOMAIN), encoding="utf-8")
            os.chown(path, 0, group)
            path.chmod(mode)
            old = time.time() - 10
            os.utime(path, (old, old))

        for name in ("", "postfix", "queue", "log", "dovecot", "dovecot/run", "tls", "queue/pid"):
            folder(name)
        folder("data", postfix)
        folder("mailbox", 65534, 65534)
        for name in ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold",
                     "incoming", "private", "saved", "trace"):
            folder("queue/" + name, postfix, 0, 0o700)
        folder("queue/maildrop", postfix, postdrop, 0o730)
        folder("queue/public", postfix, postdrop, 0o710)
        file("postfix/main.cf", MAIN_CF)
        file("postfix/master.cf", MASTER_CF)
        file("dovecot/dovecot.conf", DOVECOT)
        file("dovecot/users", "".join(f"{u}:{{{{PLAIN}}}}{p}::::::\n" for u, p in USERS.items()),
             0o640, grp.getgrnam("dovecot").gr_gid)
        self.host.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                      "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                      f"/CN={DOMAIN}", "-keyout", f"{DIR}/tls/key.pem",
                      "-out", f"{DIR}/tls/cert.pem")

    def _daemon(self, *argv):
        # All three descriptors away from the test's pipes: a daemon would hold them open.
        self.host.run("sh", "-c", f'exec "$@" </dev/null >/dev/null 2>>{DIR}/log/start.log', "sh",
                      *argv, timeout=20)

    def stop(self):
        """Ends both in order. Not needed before the host is closed, which ends all it runs."""
        for name in ("queue/pid/master.pid", "dovecot/run/master.pid"):
            try:
                pid = int(self.host.path(f"{DIR}/{name}").read_text(encoding="ascii"))
            except (OSError, ValueError):
                continue
            self.host.run("kill", f"-{int(signal.SIGTERM)}", pid, ok=None)
            stat = self.host.path(f"/proc/{pid}/stat")
            laboratory.until(lambda s=stat: not s.exists() or ") Z " in s.read_text("ascii"))

    def log(self):
        """What Postfix logged."""
        return self.host.path(f"{DIR}/log/mail.log").read_text("utf-8", "replace")

    def delivered(self):
        """How many mails lie in the mailbox."""
        box = self.host.path(f"{DIR}/mailbox/inbox")
        return box.read_text("utf-8", "replace").count("\nMessage-Id: ") if box.exists() else 0


def command(target, source, user, password, port, timeout):
    """The command line of one mail, sent with TLS and a password."""
    return ["swaks", "--server", target, "--port", str(port), "--local-interface", source,
            "-tlsc" if port == 465 else "-tls", "--timeout", str(timeout),
            "--auth", "PLAIN", "--auth-user", user, "--auth-password", password,
            "--from", f"{user}@{DOMAIN}", "--to", "someone@elsewhere.example",
            "--ehlo", "client.example", "--header", "Subject: sent through the gate"]


def send(client, target, source, user, password, port, timeout=10):
    """Sends one mail from `client`: "250", "535" or "no connection".

    Anything else is returned as it is, and so never equals what a test expects."""
    done = client.run(*command(target, source, user, password, port, timeout), ok=None)
    if done.code == 0 and "\n<~  250 2.0.0 Ok: queued" in done.out:
        return SENT
    if done.code == 28 and "\n<~* 535 " in done.out:
        return REFUSED
    if done.code == 2 and "Connected to" not in done.out:
        return SILENT
    return f"exit {done.code}: {done.out[-600:]}{done.err[-300:]}"
