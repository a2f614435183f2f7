"""What is raised when the kernel does not do what a capture needs."""

from __future__ import annotations

import errno

_ADVICE = {
    errno.EPERM: "the process needs CAP_BPF and CAP_NET_RAW",
    errno.EACCES: "the process needs CAP_BPF and CAP_NET_RAW, or the verifier refused a program",
    errno.ENOSYS: "a kernel of 5.17 or later with CONFIG_BPF_SYSCALL is needed",
    errno.EINVAL: "the kernel may lack what the programs use; 5.17 or later is needed",
    errno.E2BIG: "the map is full; raise max_flows or max_identities",
    errno.ENOMEM: "the kernel has no memory left for the maps or rings; lower their sizes",
    errno.ENODEV: "the network interface does not exist in this network namespace",
}


class KernelError(Exception):
    """The kernel refused a map, a program or a socket; the text says what to do about it.

    Raised before anything was opened, or with everything opened so far closed again.
    """


def refused(step: str, error: OSError, detail: str = "") -> KernelError:
    """Say in one sentence which step failed, why, and what would help."""
    parts = [f"{step}: {error.strerror or error}"]
    if error.errno in _ADVICE:
        parts.append(_ADVICE[error.errno])
    if detail:
        parts.append(detail)
    return KernelError("; ".join(parts))
