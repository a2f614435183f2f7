"""On Debian's stock kernels each kind of mirror that they have is found and undone."""

from __future__ import annotations

import lzma
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.vm.conftest import need
from tests.vm.image import HOME, Archive, libraries
from tests.vm.jobs.mirrors import COPYING
from tests.vm.kernels import SUITES, Kernel, folder
from tests.vm.machine import Machine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

TOOLS = ("ip", "tc", "nft", "iptables-legacy")
TARGETS = Path("/usr/lib/x86_64-linux-gnu/xtables")
MODULES = (
    "veth", "sch_ingress", "act_mirred", "act_gact", "act_sample", "cls_u32", "cls_matchall",
    "cls_flower", "cls_basic", "cls_bpf", "macvlan", "ipvlan", "ifb", "nlmon", "ip_gre", "vxlan",
    "geneve", "nf_tables", "nft_log", "nft_queue", "nft_dup_netdev", "nft_fwd_netdev",
    "nft_dup_ipv4", "nfnetlink_log", "nfnetlink_queue", "iptable_filter", "xt_TEE",
)  # fmt: skip
NOT_THERE = {"bookworm": {"tcx", "netkit"}, "trixie": set()}
EXPECTED = {
    **dict.fromkeys(("u32", "matchall", "flower", "basic", "piped", "sample"), "tc_mirror"),
    **dict.fromkeys(
        ("macvlan", "ipvlan", "ifb", "nlmon", "gretap", "erspan", "vxlan", "geneve", "fallback"),
        "mirror_link",
    ),
    **dict.fromkeys(("dup", "fwd", "dup_ip", "queue", "log"), "nft_copy"),
    "tee": "xt_copy",
    "xdp": "xdp",
    "tcx": "bpf_foreign",
    "netkit": "bpf_foreign",
}


@dataclass(frozen=True)
class Furnished(Kernel):
    """A kernel with what mirrors are made of."""

    def modules(self) -> dict[str, bytes]:
        there = {path.name.partition(".")[0]: path for path in self._paths()}
        found: dict[str, bytes] = {}
        for name in MODULES:
            self._take(name, there, found)
        return found

    def _paths(self):
        return (folder() / self.suite / "modules").rglob("*.ko*")

    def _take(self, name: str, there: dict[str, Path], found: dict[str, bytes]) -> None:
        """Take a module after those that it depends on, as it says itself."""
        if name in found or name not in there:
            return
        octets = there[name].read_bytes()
        octets = lzma.decompress(octets) if there[name].suffix == ".xz" else octets
        _, _, rest = octets.partition(b"\0depends=")
        for each in rest.partition(b"\0")[0].decode().split(","):
            self._take(each, there, found)
        found[name] = octets


@pytest.fixture(scope="module")
def furnished(base, tmp_path_factory):
    for name in TOOLS:
        need(shutil.which(name) is not None, name)
    place = tmp_path_factory.mktemp("vm") / "base"
    shutil.copyfile(base, place)
    with place.open("ab") as out:
        archive = Archive(out)
        tools = [Path(shutil.which(name)) for name in TOOLS]
        plugins = [TARGETS / f"libxt_{name}.so" for name in ("TEE", "standard")]
        for tool in tools:
            archive.file(tool.resolve(), str(tool))
        for path in [*plugins, *libraries([*tools, *plugins])]:
            archive.file(path)
        archive.tree(Path(__file__).parents[1] / "agents/sentry", f"{HOME}/tests/agents/sentry")
    yield place
    place.unlink()


@pytest.fixture(params=SUITES)
def told(request, furnished, tmp_path_factory):
    kernel = Furnished(request.param)
    need(kernel.image.exists(), f"the kernel of Debian {kernel.suite}")
    machine = Machine(kernel, furnished, tmp_path_factory.mktemp(kernel.suite))
    return kernel.suite, {each["way"]: each for each in machine.run("mirrors")}


def test_every_kind_of_mirror_is_found_and_undone(told):
    suite, ways = told
    assert {way for way, each in ways.items() if "missing" in each} == NOT_THERE[suite], ways
    for way, each in ways.items():
        if way not in NOT_THERE[suite]:
            assert each["found"] == [EXPECTED[way]], each
            assert each["undone"], each
            assert (each["before"], each["after"]) == (
                (True, False) if way in COPYING else (None, None)
            )
