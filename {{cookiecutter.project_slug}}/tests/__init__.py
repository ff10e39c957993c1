"""The test suite: everything goes through HTTP or a module's public functions, as an owner would
use them.
"""
