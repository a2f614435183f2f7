"""The node agent: events in, commands out.

It arms nothing because the guard says so: it verifies, offline, the signatures that people made
with their own keys. In doubt it captures nothing.
"""
