"""The ``callguard`` command: a client of the API, one person's folder at a time."""
