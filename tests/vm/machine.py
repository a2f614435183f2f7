"""Boots a kernel in a virtual machine, has one job done there, and returns what it told.

1. The processor is emulated (qemu's TCG): nothing of this machine's own is needed, nor root. Nothing
   in it can reach out: it has no network.
2. The job is named on the kernel's command line. What it tells comes line by line over the second
   serial port, as JSON; the first has the kernel's messages and whatever a process writes.
3. A machine that does not end by itself within the time is ended. Whoever asked for the job sees
   all that was written, if it did not come to its end.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.vm.image import Archive
from tests.vm.kernels import Kernel

__all__ = ["Machine"]

_MEGABYTES = 768
_LAST = 6000
"""So many characters of the console are shown."""


@dataclass(frozen=True)
class Machine:
    """``base`` is the archive that `put_guest` wrote, not yet ended; ``folder`` is ours."""

    kernel: Kernel
    base: Path
    folder: Path
    seconds: float = 110

    def run(self, job: str, *words: str) -> list[dict[str, Any]]:
        """Do tests/vm/jobs/JOB.py with these words and return what it told, in order."""
        disk, console, told = (self.folder / each for each in ("initramfs", "console", "told"))
        self._write(disk)
        command = [
            "qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", str(_MEGABYTES),
            "-nodefaults", "-display", "none", "-no-reboot",
            "-kernel", str(self.kernel.image), "-initrd", str(disk),
            "-append", f"console=ttyS0 quiet panic=-1 callguard={','.join((job, *words))}",
            "-serial", f"file:{console}", "-serial", f"file:{told}",
        ]  # fmt: skip
        try:
            subprocess.run(command, check=True, timeout=self.seconds)
        except subprocess.TimeoutExpired:
            ended = f"was ended after {self.seconds:.0f} seconds"
        else:
            ended = "ended before its job did"
        finally:
            disk.unlink()  # It is large, and written anew in a second.
        lines = [json.loads(line) for line in told.read_text("utf-8").splitlines() if line]
        if lines and lines[-1] == {"ended": True}:
            return lines[:-1]
        said = console.read_text("utf-8", "replace")[-_LAST:]
        raise AssertionError(
            f"the machine with {self.kernel.suite}'s kernel {ended}; it told {lines} and wrote:\n{said}"
        )

    def _write(self, disk: Path) -> None:
        disk.write_bytes(self.base.read_bytes())
        with disk.open("ab") as out:
            archive = Archive(out)
            for name, content in self.kernel.modules().items():
                archive.add(f"/modules/{len(archive.written):02}-{name}.ko", content)
            archive.end()
