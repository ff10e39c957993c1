"""The security statements that need more than a test of the generated suite: real servers and
processes, a real browser, mass. `test_table.py` has the list of all.
"""
