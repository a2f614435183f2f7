"""The scripts for Asterisk and FreeSWITCH, with the switch's side played by the test."""

from __future__ import annotations

import asyncio
import shutil
import stat
import sys
from dataclasses import replace
from pathlib import Path

import pyrage
import pytest

from agents.core.decision import Permit
from tests.examples.switchboard import DENY, EXAMPLES, GRANT, ROOT, deciding, permit

NASTY = "'\"`touch x`$(touch y);|&"
UNIQUEID = "1764162000.42"
UUID = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
LUA = """
argv = { arg[1] }
local asked = 0
local variables = { sip_call_id = os.getenv("CALL_ID"), sip_full_from = "<sip:alice@h>;tag=1" }
freeswitch = { msleep = function() end }
function freeswitch.API()
    return { executeString = function(_, command)
        io.stderr:write(command, "\\n")
        if command:match("^uuid_exists") then
            asked = asked + 1
            return asked < 4 and "true" or "false"
        end
        local slice = command:match("^uuid_record %S+ start (%S+)")
        if slice then
            local file = io.open(slice, "w")
            file:write("spoken words")
            file:close()
        end
        return variables[command:match("^uuid_getvar %S+ (%S+)$")] or "_undef_"
    end }
end
dofile(arg[2])
"""


def script(folder: Path, name: str) -> Path:
    """Return the example with its paths in the test's folder."""
    text = (EXAMPLES / name).read_text()
    for old, new in (
        ("/run/callguard-agent/decisions.sock", str(folder / "d/s")),
        ("/run/callguard-asterisk", str(folder / "slices")),
        ("/var/spool/callguard-asterisk", str(folder / "sealed")),
        ("/run/callguard-freeswitch", str(folder / "slices")),
        ("/var/spool/callguard-freeswitch", str(folder / "sealed")),
        ("/opt/callguard/bin/callguard-agent", str(folder / "callguard-agent")),
    ):
        text = text.replace(old, new)
    for each in ("slices", "sealed"):
        (folder / each).mkdir(exist_ok=True)
    agent = folder / "callguard-agent"
    agent.write_text(
        f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -P -m agents "$@"\n', newline="\n"
    )
    agent.chmod(0o700)
    made = folder / Path(name).name
    made.write_text(text)
    made.chmod(0o700)
    return made


def sealed_for(identity: pyrage.x25519.Identity, seconds: float = 60) -> Permit:
    answer = permit(seconds)
    (obligation,) = answer.obligations
    recipients = (str(identity.to_public()),)
    return replace(answer, obligations=(replace(obligation, recipients=recipients),))


class Asterisk:
    """Speaks AGI with the script as Asterisk does."""

    def __init__(self, made: Path, folder: Path) -> None:
        self.made, self.folder = made, folder

    async def agi(self, *arguments: str) -> dict[str, str]:
        """Run the script and return the variables that it has set."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(self.made),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=self.folder,
        )
        head = ["agi_request: callguard.agi", "agi_callerid: unknown"]
        head += [f"agi_arg_{n}: {each}" for n, each in enumerate(arguments, 1)]
        process.stdin.write("\n".join([*head, "", ""]).encode())
        said: dict[str, str] = {}
        while line := (await process.stdout.readline()).decode().strip():
            process.stdin.write(f"{self._answer(line, said)}\n".encode())
        await process.wait()
        return said

    @staticmethod
    def _answer(line: str, said: dict[str, str]) -> str:
        if line.startswith("SET VARIABLE "):
            _, _, name, value = line.split(" ", 3)
            said[name] = value
            return "200 result=1"
        values = {"call-id": NASTY, "remote_uri": "sip:alice@h"}
        found = values.get(line.partition("pjsip,")[2].rstrip(")}"))
        return f"200 result=1 ({found})" if found else "200 result=0"


@pytest.fixture
def asterisk(tmp_path: Path) -> Asterisk:
    return Asterisk(script(tmp_path, "asterisk/callguard.agi"), tmp_path)


async def test_asterisk_records_a_slice_as_long_as_the_permit_and_seals_it(
    tmp_path: Path, asterisk: Asterisk
) -> None:
    """The call is named octet by octet; the plaintext is gone after each slice."""
    identity = pyrage.x25519.Identity.generate()
    async with deciding(tmp_path / "d/s", sealed_for(identity)) as asked:
        begun = await asterisk.agi("begin", UNIQUEID)
        slice_ = Path(begun["CALLGUARD_FILE"])
        await asyncio.to_thread(slice_.write_text, "spoken words")
        following = await asterisk.agi("next", UNIQUEID)
        await asterisk.agi("end", UNIQUEID)

    assert begun["CALLGUARD"] == following["CALLGUARD"] == "permit"
    assert 50 < int(begun["CALLGUARD_SECONDS"]) <= 58
    assert following["CALLGUARD_FILE"].endswith(f"/{UNIQUEID}-2.wav")
    assert [each.call_id for each in asked] == [NASTY.encode()] * 2
    assert asked[0].identities == ("sip:alice@h",)
    check_left(tmp_path, identity, f"{GRANT}-{slice_.name}.age")


async def test_asterisk_does_not_record_on_a_denial(tmp_path: Path, asterisk: Asterisk) -> None:
    """Nor on a permit that is about to end, which Record() would take for one without end."""
    identity = pyrage.x25519.Identity.generate()
    for answer in (DENY, sealed_for(identity, 2.5)):
        async with deciding(tmp_path / "d/s", answer):
            assert await asterisk.agi("begin", UNIQUEID) == {"CALLGUARD": "deny"}
    assert await asterisk.agi("begin", UNIQUEID) == {"CALLGUARD": "deny"}, "nobody answers"
    assert await asterisk.agi("begin", "../../etc/x") == {"CALLGUARD": "deny"}
    assert await asterisk.agi("next", "1.1") == {"CALLGUARD": "deny"}, "nobody has begun"
    check_left(tmp_path, identity)


async def test_asterisk_stops_at_the_first_denial(tmp_path: Path, asterisk: Asterisk) -> None:
    """What was recorded while it was permitted is sealed."""
    identity = pyrage.x25519.Identity.generate()
    async with deciding(tmp_path / "d/s", sealed_for(identity)):
        begun = await asterisk.agi("begin", UNIQUEID)
    slice_ = Path(begun["CALLGUARD_FILE"])
    await asyncio.to_thread(slice_.write_text, "spoken words")
    async with deciding(tmp_path / "d/s", DENY):
        assert await asterisk.agi("next", UNIQUEID) == {"CALLGUARD": "deny"}
        await asterisk.agi("end", UNIQUEID)
    check_left(tmp_path, identity, f"{GRANT}-{slice_.name}.age")


def check_left(folder: Path, identity: pyrage.x25519.Identity, *names: str) -> None:
    """Only sealed slices are left, they open, and no shell has run what a caller chose."""
    assert not list((folder / "slices").iterdir())
    assert not {"x", "y"} & {each.name for each in folder.iterdir()}
    left = sorted((folder / "sealed").iterdir())
    assert [each.name for each in left] == sorted(names)
    for each in left:
        assert pyrage.decrypt(each.read_bytes(), [identity]) == b"spoken words"


async def lua(folder: Path, uuid: str = UUID) -> list[str]:
    """Run the script as `luarun` does and return what it has told FreeSWITCH."""
    made = script(folder, "freeswitch/callguard.lua")
    stub = folder / "stub.lua"
    await asyncio.to_thread(stub.write_text, LUA)
    process = await asyncio.create_subprocess_exec(
        "lua5.4",
        str(stub),
        uuid,
        str(made),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        cwd=folder,
        env={"CALL_ID": NASTY, "PATH": "/usr/bin:/bin"},
    )
    _, told = await process.communicate()
    assert process.returncode == 0, told
    return told.decode().splitlines()


@pytest.mark.skipif(shutil.which("lua5.4") is None, reason="needs Debian's lua5.4: run make deps")
async def test_freeswitch_records_slices_while_it_is_permitted(tmp_path: Path) -> None:
    """Each with the permit's own limit, each sealed; on a denial nothing."""
    identity = pyrage.x25519.Identity.generate()
    async with deciding(tmp_path / "d/s", sealed_for(identity)) as asked:
        told = await lua(tmp_path)
    starts = [each.split() for each in told if " start " in each]
    assert len(starts) == len(asked) > 0
    assert all(50 < int(each[-1]) <= 58 for each in starts)
    assert asked[0].call_id == NASTY.encode()
    assert asked[0].identities == ("<sip:alice@h>;tag=1",)
    check_left(tmp_path, identity, *(f"{GRANT}-{UUID}-{n + 1}.age" for n in range(len(starts))))


@pytest.mark.skipif(shutil.which("lua5.4") is None, reason="needs Debian's lua5.4: run make deps")
async def test_freeswitch_does_not_record_without_a_permit(tmp_path: Path) -> None:
    """Denied, about to end, nobody there, and no uuid."""
    identity = pyrage.x25519.Identity.generate()
    for answer in (DENY, sealed_for(identity, 2.5)):
        async with deciding(tmp_path / "d/s", answer):
            assert not [each for each in await lua(tmp_path) if "uuid_record" in each]
    assert not [each for each in await lua(tmp_path) if "uuid_record" in each]
    assert not await lua(tmp_path, "x; touch y")
    check_left(tmp_path, identity)


def test_the_scripts_may_be_run() -> None:
    """The AGI script has to be executable where it is copied from."""
    assert (EXAMPLES / "asterisk/callguard.agi").stat().st_mode & stat.S_IXUSR
