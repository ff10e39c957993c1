"""The code of {{ cookiecutter.__project_name }}, a Tornado application: start reading at app.py."""

raise SystemExit(  # without hooks
    "This project is unfinished: it was generated with --accept-hooks=no, and has the "  # without hooks
    "files of every answer. Delete it, and generate it again without that option."  # without hooks
)  # without hooks
