"""An alert as a mail: made, and handed to an SMTP server once."""

from __future__ import annotations

import re
import smtplib
import ssl
from contextlib import suppress
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid

from spark_jobs.alerts.message import Message, on_one_line
from spark_jobs.alerts.sending import ChannelError, reason, within
from spark_jobs.config.channels import EmailChannel

KEY = "X-Tidegate-Key"
_ENHANCED = re.compile(rb"\d\.\d{1,3}\.\d{1,3}\b")


def mail(settings: EmailChannel, message: Message) -> EmailMessage:
    """The mail; a repeat of an alert has the same key in `X-Tidegate-Key`, while Message-ID is new.

    Mailboxes drop a second mail of one Message-ID, and an hour that is blocked again must be heard again.
    """
    made = EmailMessage(SMTP.clone(max_line_length=200))  # a folded key is not found by a search
    made["Subject"] = on_one_line(message["subject"])
    made["From"] = settings.sender
    made["To"] = ", ".join(settings.to)
    made["Date"] = formatdate()
    made["Message-ID"] = make_msgid(domain=_domain(settings))
    made["Auto-Submitted"] = "auto-generated"  # RFC 3834: no absence notes in answer
    made[KEY] = on_one_line(f"{message['incident']}/{message['event']}")
    made.set_content(message["body"], cte="quoted-printable")
    return made


def send_mail(settings: EmailChannel, message: Message) -> None:
    """Hand the mail to the server, within `timeout_s`.

    Raises:
        ChannelError: a variable is not set, the server cannot be reached, or it refused the login or a recipient.
    """
    fault = _fault(settings, message)  # raised where no other error is at hand, which might hold the password
    if fault:
        at = f"{settings.host} port {settings.port}"
        raise ChannelError("email", f"{at}: {fault}", "", "look at host, port, tls and the login's variables")


def _fault(settings: EmailChannel, message: Message) -> str:
    """Send; why it failed, or nothing."""
    try:
        login, made = settings.login(), mail(settings, message)
        within(settings.timeout_s, lambda: _deliver(settings, login, made))
    except smtplib.SMTPRecipientsRefused as error:
        return f"{len(error.recipients)} of {len(settings.to)} recipients refused, {_codes(error)}"
    except smtplib.SMTPAuthenticationError as error:
        return f"login refused, {_code(error.smtp_code, error.smtp_error)}"
    except smtplib.SMTPResponseException as error:
        return f"refused, {_code(error.smtp_code, error.smtp_error)}"
    except smtplib.SMTPNotSupportedError:
        return "the server offers no STARTTLS or no login"
    except smtplib.SMTPServerDisconnected:
        return "the server hung up"
    except smtplib.SMTPException as error:
        return type(error).__name__
    except TimeoutError:
        return f"no end within {settings.timeout_s:g} s"
    except OSError as error:
        return f"cannot be reached: {reason(error)}"
    except UnicodeError:
        return "the login is not ASCII"
    except ValueError as error:  # of the variables, and made by us
        return str(error)
    return ""


def _deliver(settings: EmailChannel, login: tuple[str, str] | None, made: EmailMessage) -> None:
    """All talk with the server."""
    name = _domain(settings)  # smtplib would ask the resolver for a name of our own
    seconds = (
        2 * settings.timeout_s
    )  # of one wait, after that of all: to smtplib a wait without end is a broken connection
    trusted = ssl.create_default_context() if settings.tls != "none" else None
    server = (
        smtplib.SMTP_SSL(settings.host, settings.port, name, timeout=seconds, context=trusted)
        if settings.tls == "tls"
        else smtplib.SMTP(settings.host, settings.port, name, timeout=seconds)
    )
    try:
        if settings.tls == "starttls":
            server.starttls(context=trusted)
        if login:
            server.login(*login)
        refused = server.send_message(made, settings.sender, settings.to)
        with suppress(OSError):
            server.putcmd("quit")  # the mail is taken; what the server still says is of no concern
    finally:
        server.close()
    if refused:
        raise smtplib.SMTPRecipientsRefused(refused)


def _domain(settings: EmailChannel) -> str:
    return settings.sender.rpartition("@")[2]


def _code(code: int, text: bytes | str) -> str:
    """`535 5.7.8`: what the server said, without its words."""
    found = _ENHANCED.search(text if isinstance(text, bytes) else text.encode())
    return f"{code} {found[0].decode()}" if found else str(code)


def _codes(error: smtplib.SMTPRecipientsRefused) -> str:
    return ", ".join(sorted({_code(code, text) for code, text in error.recipients.values()}))
