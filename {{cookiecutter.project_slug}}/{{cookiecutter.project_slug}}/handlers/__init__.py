"""The pages. Each module is one area of the site and lists its routes at the end.

Only app.py imports this package. What pages share with each other, and with jobs and scripts, is in
services.py.
"""

from __future__ import annotations

from . import account, auth, emails, health, home

# Add a page: write handlers/<page>.py with its own ROUTES, and list it here.
ROUTES = [
    *home.ROUTES,
    *auth.ROUTES,
    *account.ROUTES,
    *emails.ROUTES,
    *health.ROUTES,
]
