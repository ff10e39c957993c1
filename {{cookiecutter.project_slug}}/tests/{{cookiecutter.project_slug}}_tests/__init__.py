"""The test suite: everything goes through HTTP or a module's public functions, as an owner would
use them.

It works below any folder, as in a repository of several projects. Its name has the project's in it,
because pytest can import only one package called `tests`; and it finds the app by itself.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
