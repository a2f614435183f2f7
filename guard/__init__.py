"""The gatekeeper: checks, orders, logs, signs grants, renews leases and distributes.

Dependencies point one way: wiring -> adapters -> use cases -> rules. The guard never imports
the agents. It holds no key that opens a capture and none that approves one.
"""
