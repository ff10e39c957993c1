"""{{ cookiecutter.__project_name }}: a Tornado application. Start reading at app.py."""
