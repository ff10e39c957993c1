"""Refuse what only shows once the folder exists. Rendering this file does it: see
needs_cookiecutter_2_1_or_cruft_2_16.py.{{ cookiecutter | refuse_in_hook }}
"""
