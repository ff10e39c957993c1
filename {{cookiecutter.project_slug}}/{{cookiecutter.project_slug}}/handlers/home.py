"""The front page: a list of notes that is kept in the session.

It shows how to use a session. Read it, then replace it with yours.
"""

from __future__ import annotations

from ..texts import _
from .base import BaseHandler

max_notes = 20
max_note_characters = 200


class HomeHandler(BaseHandler):
    async def get(self) -> None:
        # Reads the session and stores nothing: a visitor without one, a crawler above all, gets no
        # cookie and costs no trip.
        await self._show()

    async def post(self) -> None:
        text = self.field("text").strip()
        if not text or len(text) > max_note_characters:
            self.set_status(422)
            fault = (
                _("Use at most {count} characters.", count=max_note_characters)
                if text
                else _("Write something first.")
            )
            await self._show(text=text, fault=fault)
            return
        # Atomic: of two notes posted at once none is lost. Where that does not matter,
        # self.session["notes"] = ... does.
        await self.session.modify("notes", lambda notes: [text, *notes][:max_notes], default=[])
        self.flash(_("Your note is saved."), "success")
        self.see_other("/")

    async def _show(self, *, text: str = "", fault: str = "") -> None:
        await self.render_page(
            "home.html",
            notes=self.session.get("notes", []),
            max_note_characters=max_note_characters,
            text=text,
            faults={"text": fault} if fault else {},
        )


ROUTES = [
    (r"/", HomeHandler),
]
