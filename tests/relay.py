# SPDX-License-Identifier: GPL-2.0-only
"""A real mail relay for the laboratory's mail host: Postfix, TLS, Dovecot or Cyrus SASL.

The gate is worth something only in front of a relay that asks for the password, and account lists
only with a relay that asks `smtpgate policy`. So the tests and the demo run the very files of
relay/ and dist/ that an administrator copies, at their real paths: the host's own mount namespace
gets empty file systems over /etc/postfix, /etc/dovecot, /var/spool/postfix, /var/lib and /run, and
a passwd and a group of its own. Nothing of the machine's is changed, none of its services touched.

Three things differ from an administrator's host. /usr/sbin holds links to the machine's programs,
and smtpgate: the program under test. /var/lib/smtpgate is the laboratory's state directory. And
TESTING is appended to main.cf and DOVECOT to dovecot.conf: a log file, no waiting, no DNS, and
every mail goes to one mailbox. Neither sets anything that relay/ sets.

What makes it quick (0.3 s), all needed: the queue directories are made by hand instead of by
`postfix start`; Postfix's files look 10 s old (it waits on fresher ones); the daemons get no
descriptor to hold open.
"""
import base64
import functools
import grp
import os
import pwd
import re
import shutil
import signal
import socket
import ssl
import tempfile
import time

import lab as laboratory

DIR = laboratory.MNT + "/relay"
SBIN = laboratory.MNT + "/sbin"
CONFIG = "/etc/postfix"
QUEUE = "/var/spool/postfix"
PIDS = (QUEUE + "/pid/master.pid", "/run/dovecot/master.pid")
DOMAIN = "mail.example"
RECIPIENT = "someone@elsewhere.example"
USERS = {"alice": "wonder-4711", "bob": "builder-0815"}
WRONG = "guessed-1234"

# What became of a mail, as send() says it: accepted; password refused; not even a connection.
SENT, REFUSED, SILENT = "250", "535", "no connection"
# The policy service cannot read the list; Postfix cannot ask the policy service.
TROUBLE = (f"450 4.3.0 <{RECIPIENT}>: Recipient address rejected: the list of allowed senders "
           "cannot be read; try again later")
DOWN = (f"451 4.3.5 <{RECIPIENT}>: Recipient address rejected: the list of allowed senders "
        "cannot be asked; try again later")

MOUNTS = f"""
set -e
mkdir {SBIN} {DIR} {DIR}/log {DIR}/mailbox
mount --bind /usr/sbin {SBIN}
for place in /usr/sbin /etc/postfix /etc/dovecot /var/spool/postfix /var/lib /run; do
    mount -t tmpfs -o mode=755 tmpfs "$place"
done
ln -s {SBIN}/* /usr/sbin/
rm -f /usr/sbin/smtpgate
mkdir -p {laboratory.STATE} /var/lib/smtpgate /var/lib/postfix /var/lib/dovecot
mount --bind {laboratory.STATE} /var/lib/smtpgate
"""

TESTING = f"""
# Below this line: for the tests only.
maillog_file = {DIR}/log/mail.log
maillog_file_prefixes = {DIR}
smtp_dns_support_level = disabled
smtpd_peername_lookup = no
smtpd_error_sleep_time = 0
smtpd_hard_error_limit = 1000
smtpd_client_connection_count_limit = 0
in_flow_delay = 0
default_transport = virtual:
relay_transport = virtual:
local_transport = virtual:
virtual_mailbox_base = {DIR}/mailbox
virtual_mailbox_maps = static:inbox
virtual_mailbox_domains =
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
virtual_minimum_uid = 100
"""

DOVECOT = f"""
# Below this line: for the tests only. They send wrong passwords on purpose: no growing delay.
log_path = {DIR}/log/dovecot.log
auth_verbose = yes
auth_failure_delay = 0
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
"""


def shipped(name):
    """The text of a file as it is shipped."""
    return (laboratory.ROOT / name).read_text(encoding="utf-8")


@functools.lru_cache(maxsize=None)
def accounts():
    """(passwd, group) of the machine with the user of dist/sysusers.d added, as systemd does it."""
    with tempfile.TemporaryDirectory() as root:
        os.mkdir(root + "/etc")
        for name in ("passwd", "group"):
            shutil.copy("/etc/" + name, root + "/etc/" + name)
        laboratory.execute(["systemd-sysusers", "--root=" + root, "-"],
                           stdin=shipped("dist/sysusers.d/smtpgate.conf"))
        return tuple(open(f"{root}/etc/{name}", encoding="utf-8").read()
                     for name in ("passwd", "group"))


@functools.lru_cache(maxsize=None)
def certificate():
    """(key, certificate) of the relay, made once for a test program."""
    done = laboratory.execute(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", f"/CN=relay.{DOMAIN}", "-keyout", "-", "-out", "-"])
    key, end, rest = done.out.partition("-----END PRIVATE KEY-----\n")
    return key + end, rest


@functools.lru_cache(maxsize=None)
def password_hash(password):
    """As `doveadm pw -s SHA512-CRYPT` makes it."""
    done = laboratory.execute(["openssl", "passwd", "-6", "-stdin"], stdin=password)
    return "{SHA512-CRYPT}" + done.out.strip()


@functools.lru_cache(maxsize=None)
def dovecot_file():
    """The configuration for this machine's Dovecot: the names of settings changed with 2.4."""
    version = laboratory.execute(["dovecot", "--version"]).out
    old = tuple(map(int, re.match(r"(\d+)\.(\d+)", version).groups())) < (2, 4)
    return "relay/dovecot/" + ("dovecot.conf" if old else "dovecot-2.4.conf")


class Relay:
    """Postfix and what checks its passwords, on a host of the laboratory.

    `postconf`: lines of arguments for postconf(1), run before the start, to try other settings."""

    def __init__(self, host, sasl="dovecot", postconf=()):
        self.host = host
        self.sasl = sasl
        started = time.monotonic()
        self._machine()
        self._postfix(list(postconf))
        getattr(self, "_" + sasl)()
        self.age()
        if not host.path(laboratory.STATE + "/smtpgate.db").exists():
            # An administrator has made the list by now; without one the policy service defers.
            host.run("smtpgate", "--bpffs", laboratory.BPFFS, "set", "limit", "10")
        if sasl == "dovecot":
            self._daemon("dovecot")
            self._greet_dovecot()
        # -w: returns when the ports are open
        self._daemon("/usr/lib/postfix/sbin/master", "-w")
        self.start_time = time.monotonic() - started

    def file(self, name, text, user="root", group="root", mode=0o644):
        """Writes a file of the host."""
        path = self.host.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        os.chown(path, pwd.getpwnam(user).pw_uid, grp.getgrnam(group).gr_gid)
        path.chmod(mode)

    def age(self):
        """Lets Postfix's files look old: it waits on one that has just changed."""
        old = time.time() - 10
        for path in self.host.path(CONFIG).iterdir():
            if path.is_file():
                os.utime(path, (old, old))

    def _folder(self, name, user="root", group="root", mode=0o755):
        path = self.host.path(name)
        path.mkdir(parents=True, exist_ok=True)
        os.chown(path, pwd.getpwnam(user).pw_uid, grp.getgrnam(group).gr_gid)
        path.chmod(mode)

    def _machine(self):
        """The host as it is before a relay is set up: its own paths, users, state directory."""
        self.host.run("sh", "-c", MOUNTS)
        for name, text in zip(("passwd", "group"), accounts()):
            self.file(f"{DIR}/{name}", text)
            self.host.run("mount", "--bind", f"{DIR}/{name}", f"/etc/{name}")
        shutil.copyfile(laboratory.PROGRAM, self.host.path("/usr/sbin/smtpgate"))
        self.host.path("/usr/sbin/smtpgate").chmod(0o755)
        self.host.run("systemd-tmpfiles", "--create", "-",
                      stdin=shipped("dist/tmpfiles.d/smtpgate.conf"))

    def _postfix(self, postconf):
        self._folder(DIR + "/mailbox", "nobody", "nogroup")
        self._folder("/var/lib/postfix", "postfix", "postfix")
        self._folder(QUEUE + "/pid")
        for name in ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold",
                     "incoming", "private", "saved", "trace"):
            self._folder(f"{QUEUE}/{name}", "postfix", mode=0o700)
        self._folder(QUEUE + "/maildrop", "postfix", "postdrop", 0o730)
        self._folder(QUEUE + "/public", "postfix", "postdrop", 0o710)
        for name in ("master.cf", "sender_login", "sender_domains", "virtual"):
            self.file(f"{CONFIG}/{name}", shipped("relay/postfix/" + name))
        self.file(CONFIG + "/main.cf", shipped("relay/postfix/main.cf") + TESTING)
        key, chain = certificate()
        self.file(CONFIG + "/tls/privkey.pem", key, mode=0o600)
        self.file(CONFIG + "/tls/fullchain.pem", chain)
        if self.sasl == "cyrus":
            lines = shipped("relay/cyrus/main.cf").splitlines()
            postconf.insert(0, ("-e", *(line for line in lines if line and line[0] != "#")))
        for arguments in postconf:
            self.host.run("postconf", "-c", CONFIG, *arguments)

    def _dovecot(self):
        self.file("/etc/dovecot/dovecot.conf", shipped(dovecot_file()) + DOVECOT)
        self.file("/etc/dovecot/users", "".join(f"{user}:{password_hash(password)}\n"
                                                for user, password in USERS.items()),
                  group="dovecot", mode=0o640)

    def _cyrus(self):
        self.file(CONFIG + "/sender_login", shipped("relay/cyrus/sender_login"))
        self.file(CONFIG + "/sasl/smtpd.conf", shipped("relay/cyrus/smtpd.conf"))
        base = CONFIG + "/sasl/sasldb2"
        for user, password in USERS.items():
            self.host.run("saslpasswd2", "-c", "-p", "-f", base, "-u", DOMAIN, user,
                          stdin=password)
        os.chown(self.host.path(base), 0, grp.getgrnam("postfix").gr_gid)
        self.host.path(base).chmod(0o640)

    def _daemon(self, *argv):
        # All three descriptors away from the test's pipes: a daemon would hold them open.
        self.host.run("sh", "-c", f'exec "$@" </dev/null >/dev/null 2>>{DIR}/log/start.log', "sh",
                      *argv, timeout=20)

    def _greet_dovecot(self):
        """Returns when Dovecot answers: one that is told to stop in the midst of starting hangs."""
        path = self.host.path(f"{QUEUE}/private/auth")
        laboratory.until(path.exists)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(10)
            sock.connect(str(path))
            assert sock.recv(7) == b"VERSION"

    def stop(self):
        """Ends both in order. Not needed before the host is closed, which ends all it runs."""
        for name in PIDS:
            try:
                pid = int(self.host.path(name).read_text(encoding="ascii"))
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


def barred(account, address):
    """What the sender is told whose account may not send from there."""
    return (f"554 5.7.1 <{RECIPIENT}>: Recipient address rejected: account {account} may not send "
            f"from {address}; ask the mail administrator to list it")


def not_owned(sender, login):
    """What the sender is told who uses another account's address."""
    return f"553 5.7.1 <{sender}>: Sender address rejected: not owned by user {login}"


def command(target, source, user, password, port, timeout, sender=None):
    """The command line of one mail, sent with TLS and a password."""
    return ["swaks", "--server", target, "--port", str(port), "--local-interface", source,
            "-tlsc" if port == 465 else "-tls", "--timeout", str(timeout),
            "--auth", "PLAIN", "--auth-user", user, "--auth-password", password,
            "--from", sender or f"{user}@{DOMAIN}", "--to", RECIPIENT,
            "--ehlo", "client.example", "--header", "Subject: sent through the gate"]


def send(client, target, source, user, password, port, timeout=10, sender=None):
    """Sends one mail from `client`: "250", "535", "no connection", or what was said to RCPT TO.

    Anything else is returned as it is, and so never equals what a test expects."""
    done = client.run(*command(target, source, user, password, port, timeout, sender), ok=None)
    if done.code == 0 and "\n<~  250 2.0.0 Ok: queued" in done.out:
        return SENT
    if done.code == 28 and "\n<~* 535 " in done.out:
        return REFUSED
    if done.code == 2 and "Connected to" not in done.out:
        return SILENT
    if done.code == 24 and (said := re.findall(r"^<~\* ([45]\d\d [^\n]*)$", done.out, re.M)):
        return said[-1]
    return f"exit {done.code}: {done.out[-600:]}{done.err[-300:]}"


class Unanswered(Exception):
    """No connection: nobody answers at all."""


class Session:
    """A client's SMTP connection, over TLS, for what one command line of swaks cannot say.

    Raises Unanswered when there is no connection within `patience`."""

    def __init__(self, client, target, source, port, patience=30):
        self.client = client
        self.raw = client.socket(socket.AF_INET6 if ":" in target else socket.AF_INET,
                                 socket.SOCK_STREAM)
        self.sock = self.raw
        self.file = None
        try:
            self._connect(source, target, port, patience)
            if port == 465:
                self._secure()
            self.answer()
            if port == 587:
                self.ask("EHLO client.example")
                self.ask("STARTTLS")
                self._secure()
            self.ask("EHLO client.example")
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends the connection."""
        if self.file:
            self.file.close()
        self.sock.close()
        self.client.sockets.remove(self.raw)
        self.raw.close()

    def _connect(self, source, target, port, patience):
        self.raw.bind((source, 0))
        self.raw.settimeout(patience)
        try:
            self.raw.connect((target, port))
        except TimeoutError as late:
            raise Unanswered from late
        self.raw.settimeout(60)

    def _secure(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False  # the certificate is the test's own
        context.verify_mode = ssl.CERT_NONE
        self.sock = context.wrap_socket(self.sock)
        self.file = None

    def answer(self):
        """The server's next answer; its last line, if it has several."""
        self.file = self.file or self.sock.makefile("rb")
        line = b"----"
        while line[3:4] == b"-":
            line = self.file.readline(2000)
        return line.decode("utf-8", "replace").rstrip()

    def ask(self, line):
        """Sends a line, returns the answer."""
        self.sock.sendall(line.encode() + b"\r\n")
        return self.answer()

    def login(self, user, password, acting_as=""):
        """"235", "535", or what else was answered."""
        secret = base64.b64encode(f"{acting_as}\0{user}\0{password}".encode()).decode()
        said = self.ask("AUTH PLAIN " + secret)
        return said[:3] if said.startswith(("235 2.7.0 ", "535 5.7.8 Error: auth")) else said

    def mail(self, sender, recipient=RECIPIENT):
        """Sends one mail: "250", or the first refusal."""
        for line in (f"MAIL FROM:<{sender}>", f"RCPT TO:<{recipient}>", "DATA"):
            said = self.ask(line)
            if said[0] not in "23":
                self.ask("RSET")
                return said
        said = self.ask(f"From: <{sender}>\r\nMessage-Id: <{time.monotonic_ns()}@client.example>"
                        "\r\n\r\nA mail.\r\n.")
        return SENT if said.startswith("250 2.0.0 Ok: queued as ") else said


def attempt(client, target, source, user, password, port, patience=30, sender=None):
    """One mail in a session of its own; answers as send() does."""
    try:
        with Session(client, target, source, port, patience) as session:
            said = session.login(user, password)
            return session.mail(sender or f"{user}@{DOMAIN}") if said == "235" else said
    except Unanswered:
        return SILENT
