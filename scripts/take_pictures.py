"""Take the README's pictures of a generated app: docs/home.png and docs/home-dark.png.

`make pictures` runs it. It needs Chromium, as the tests do, and no server.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from cookiecutter.main import cookiecutter

from tests.security.chromium import chromium
from tests.security.process import App

ROOT = Path(__file__).parent.parent
PICTURES = {"light": ROOT / "docs/home.png", "dark": ROOT / "docs/home-dark.png"}
SIZE = {"width": 1200, "height": 720}
NOTES = ["Water the plants before the weekend", "Ask Grace about the nightly job"]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        project = cookiecutter(str(ROOT), no_input=True, output_dir=folder)
        app = App(Path(project), Path(folder, "run"))
        try:
            with chromium() as browser:
                for scheme, path in PICTURES.items():
                    page = browser.new_page(color_scheme=scheme, viewport=SIZE)
                    page.goto(f"{app.url}/register")
                    page.fill("#username", "Ada" if scheme == "light" else "Linus")
                    page.fill("#password", "correct horse")
                    page.click("main form button")
                    for note in NOTES:
                        page.goto(app.url)
                        page.fill("#text", note)
                        page.click("main button")
                    page.screenshot(path=path)
                    print(f"{path.relative_to(ROOT)}: {path.stat().st_size // 1000} kB")
        finally:
            app.stop()


if __name__ == "__main__":
    main()
