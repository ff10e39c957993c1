"""The front page: a counter and a list of notes, both kept in the session.

It shows how to use a session. Read it, then replace it with yours.
"""

from __future__ import annotations

from .base import BaseHandler

max_notes = 20
max_note_characters = 200


class HomeHandler(BaseHandler):
    async def get(self) -> None:
        # Atomic: two pages opened at once count as two. Where that does not matter,
        # self.session["visits"] = ... does.
        await self.session.modify("visits", lambda visits: visits + 1, default=0)
        await self._show()

    async def post(self) -> None:
        text = self.field("text").strip()
        if not text or len(text) > max_note_characters:
            self.set_status(422)
            fault = (
                f"Use at most {max_note_characters} characters."
                if text
                else "Write something first."
            )
            await self._show(text=text, fault=fault)
            return
        await self.session.modify("notes", lambda notes: [text, *notes][:max_notes], default=[])
        self.flash("Your note is saved.", "success")
        self.see_other("/")

    async def _show(self, *, text: str = "", fault: str = "") -> None:
        await self.render_page(
            "home.html",
            visits=self.session.get("visits", 0),
            notes=self.session.get("notes", []),
            max_note_characters=max_note_characters,
            text=text,
            faults={"text": fault} if fault else {},
        )


ROUTES = [
    (r"/", HomeHandler),
]
