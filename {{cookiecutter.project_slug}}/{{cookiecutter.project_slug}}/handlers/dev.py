"""Pages for development alone; app.py leaves them out otherwise."""

from __future__ import annotations

from .plain import PlainHandler


class MailsHandler(PlainHandler):
    def get(self) -> None:
        """Show what would have been sent if there were an SMTP_URL."""
        self.set_header("Cache-Control", "no-store")
        mail = self.application.services.mail
        self.render("dev_mails.html", current_user=None, mails=list(reversed(mail.outbox)))


ROUTES = [
    (r"/dev/mails", MailsHandler),
]
