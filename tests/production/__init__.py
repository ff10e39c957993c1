"""The generated app as it is run for people: several processes behind a proxy, restarts, lack of files.

Everything here is real: nginx, the stores, the processes and their signals.
"""
