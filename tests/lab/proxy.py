"""The SIP proxy of the lab: Debian's Kamailio on the node, between caller and callee.

``record`` says how it asks for a recording of every call: not at all, by a flag in its offer, or by
a command of its own once the call is answered. Whatever it is answered, the call goes on.
"""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.lab.network import Network, end
from tests.lab.relay import NG

__all__ = ["PROXY", "PROXY6", "Proxy"]

PROXY, PROXY6 = "10.77.1.1:5060", "[fd77:1::1]:5060"  # on the caller's side
_TEMPLATE = Path(__file__).parent / "kamailio.cfg"
_ASK = """if (status =~ "2[0-9][0-9]") {
            if (start_recording()) xlog("L_WARN", "LAB: recording started\\n");
            else xlog("L_WARN", "LAB: recording refused, return code $rc\\n");
        }"""


@dataclass
class Proxy:
    """Kamailio in the node's namespace; use it as a context manager. ``relay``: its NG socket."""

    network: Network
    folder: Path
    relay: str = f"udp:127.0.0.1:{NG}"
    record: str = "none"
    children: int = 2
    process: subprocess.Popen[bytes] | None = field(default=None)

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        config = _TEMPLATE.read_text()
        modules = next(Path("/usr/lib").glob("*/kamailio/modules")).parents[1].name
        for key, value in (
            ("CHILDREN", str(self.children)),
            ("ARCH", modules),
            ("RELAY", self.relay),
            ("FLAG", "record-call=on" if self.record == "flag" else ""),
            ("VERB", _ASK if self.record == "verb" else ""),
        ):
            config = config.replace(f"@{key}@", value)
        (self.folder / "kamailio.cfg").write_text(config)
        with (self.folder / "kamailio.log").open("ab") as log:
            self.process = self.network.start(
                "node",
                "kamailio",
                "-f",
                str(self.folder / "kamailio.cfg"),
                "-DD",
                "-E",
                "-m",
                "64",
                "-M",
                "8",
                "-Y",
                str(self.folder),
                "-P",
                str(self.folder / "kamailio.pid"),
                output=log,
                unit="kamailio.service",
            )
        for _ in range(300):
            if PROXY + " " in self.network.run("node", "ss", "-lnu"):
                return self
            time.sleep(0.02)
        raise RuntimeError(self.log()[-1500:])

    def __exit__(self, *exc: object) -> None:
        if self.process is not None:
            end(self.process)

    def log(self) -> str:
        """Return what Kamailio has said."""
        return (self.folder / "kamailio.log").read_text()
