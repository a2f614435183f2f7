"""What is in a virtual machine: this Python with its library, the project, and a few programs.

The file system is an archive that the kernel unpacks into memory as it boots (initramfs, the cpio
format "newc"). It is not compressed: a machine that is emulated copies faster than it inflates.
Everything lies where it does outside, so that nothing has to be told where it is. Files keep their
time of change, or Python would compile them all anew.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO

__all__ = ["HOME", "Archive", "libraries", "put_guest"]

HOME = "/callguard"
"""Where the project lies."""
_ROOT = Path(__file__).parents[2]
_LEFT_OUT = {
    "test",
    "tests",
    "idlelib",
    "tkinter",
    "ensurepip",
    "lib2to3",
    "turtledemo",
    "pydoc_data",
    "site-packages",
    "dist-packages",
    "unittest",
}
_BUSYBOX = ("sh", "sleep", "cat", "mount", "umount")
_PROGRAMS = ("tcpdump",)
_PACKAGES = ("rfc8785",)
"""What agents.sentry imports that is not in the standard library."""
_FOLDER, _FILE, _LINK = 0o040755, 0o100755, 0o120777


@dataclass
class Archive:
    """Writes the format; each entry once, and folders as they are needed."""

    out: BinaryIO
    written: set[str] = field(default_factory=set)

    def add(self, name: str, content: bytes, *, mode: int = _FILE, changed: int = 0) -> None:
        name = name.lstrip("/")
        if name in self.written or not name:
            return
        self.add(str(Path(name).parent).removeprefix("."), b"", mode=_FOLDER)
        self.written.add(name)
        fields = (
            len(self.written),
            mode,
            0,
            0,
            1,
            changed,
            len(content),
            0,
            0,
            0,
            0,
            len(name) + 1,
            0,
        )
        head = b"070701" + b"".join(b"%08X" % each for each in fields) + name.encode() + b"\0"
        for part in (head, content):
            self.out.write(part + bytes(-len(part) % 4))

    def file(self, path: Path, name: str | None = None) -> None:
        self.add(name or str(path), path.read_bytes(), changed=int(path.stat().st_mtime))

    def folder(self, name: str) -> None:
        self.add(name, b"", mode=_FOLDER)

    def link(self, name: str, to: str) -> None:
        self.add(name, to.encode(), mode=_LINK)

    def tree(self, path: Path, name: str, left_out: set[str] = frozenset()) -> None:
        for each in sorted(path.rglob("*")):
            inner = each.relative_to(path)
            if each.is_file() and not left_out & set(inner.parts) and ".opt-" not in each.name:
                self.file(each, f"{name}/{inner}")

    def end(self) -> None:
        self.written.discard("TRAILER!!!")
        self.add("TRAILER!!!", b"", mode=0)


def put_guest(archive: Archive, escapes: Path) -> None:
    """Write everything but what belongs to one kernel."""
    for name in ("dev", "proc", "sys", "tmp", "run", "root"):
        archive.folder(name)
    python = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    library = Path(sysconfig.get_path("stdlib"))
    config = {each.name for each in library.glob("config-*")}
    programs = [
        python,
        escapes,
        *(Path(shutil.which(each) or f"/usr/sbin/{each}") for each in _PROGRAMS),
    ]
    archive.file(Path("/bin/busybox"))
    for name in _BUSYBOX:
        archive.link(f"/bin/{name}", "busybox")
    for path in programs:
        archive.file(path)
    for path in libraries([*programs, *(library / "lib-dynload").glob("*.so")]):
        archive.file(path)
    archive.tree(library, str(library), _LEFT_OUT | config)
    for name in ("agents", "guard", "tests/vm"):
        archive.tree(_ROOT / name, f"{HOME}/{name}")
    for name in _PACKAGES:
        archive.tree(Path(find_spec(name).origin).parent, f"{HOME}/{name}")
    archive.link("/escapes", str(escapes))
    start = f"#!{python}\nimport sys\nsys.path.insert(0, {HOME!r})\nfrom tests.vm import guest\nguest.main()\n"
    archive.add("/init", start.encode())


def libraries(programs: list[Path]) -> set[Path]:
    told = subprocess.run(
        ["ldd", *map(str, programs)], capture_output=True, text=True, check=True
    ).stdout
    words = (word for line in told.splitlines() if line.startswith("\t") for word in line.split())
    return {Path(word) for word in words if word.startswith("/")}
