"""The spool: survives restarts, never announces half a file, ends a capture when it is full."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pyrage
import pytest

from agents.capture.outcomes import CaptureFailed, Failure, Loss, SegmentSealed
from agents.capture.sealing import SegmentLimits
from agents.capture.segments import SegmentWriter
from agents.capture.spool import Spool, SpoolFull, SpoolUnsafe
from tests.agents.capture.capture_support import GRANT, OTHER_GRANT, Outcomes, batch, files


def writer(spool, identity, outcomes, *, grant=GRANT, limits=None):
    """Return a writer to one recipient."""
    return SegmentWriter(
        grant_id=grant,
        reference="r",
        recipients=[str(identity.to_public())],
        interfaces=["eth0"],
        spool=spool,
        limits=limits or SegmentLimits(),
        deliver=outcomes,
    )


def filled(spool, identity, segments, *, grant=GRANT):
    """Seal so many segments of one packet each."""
    outcomes = Outcomes()
    one = writer(spool, identity, outcomes, grant=grant, limits=SegmentLimits(octets=1))
    for n in range(segments):
        one.write(batch(1, start=n))
    one.close()
    outcomes.closed()
    return outcomes.segments


def test_modes_let_nobody_else_in(spool, identity, tmp_path):
    """Folders are 0700 and files 0600, whatever the umask."""
    before = os.umask(0)
    try:
        filled(spool, identity, 1)
    finally:
        os.umask(before)
    root = tmp_path / "spool"
    assert {oct(p.stat().st_mode & 0o777) for p in [root, root / GRANT]} == {"0o700"}
    assert {oct((root / n).stat().st_mode & 0o777) for n in files(root)} == {"0o600"}


def test_a_folder_open_to_others_is_refused(tmp_path):
    """A spool that the group can enter is not used."""
    (tmp_path / "spool").mkdir(mode=0o750)
    with pytest.raises(SpoolUnsafe, match="0700"):
        Spool(tmp_path / "spool", quota=1)


def test_one_process_at_a_time(tmp_path):
    """A second opening of a spool in use is refused, and works once the first let go."""
    first = Spool(tmp_path / "spool", quota=1)
    with pytest.raises(SpoolUnsafe, match="in use"):
        Spool(tmp_path / "spool", quota=1)
    first.close()
    Spool(tmp_path / "spool", quota=1).close()


@pytest.mark.parametrize("name", ["..", "a/b", "", GRANT.upper(), GRANT + "\n"])
def test_only_a_grant_id_names_a_folder(spool, name):
    """A name that is no lower-case UUID never becomes a path."""
    with pytest.raises(ValueError, match="UUID"):
        spool.begin(name)


def test_waiting_segments_survive_a_restart(tmp_path, identity):
    """A reopened spool lists the same segments with the same digests, and their room."""
    spool = Spool(tmp_path / "spool", quota=1 << 20)
    sealed = filled(spool, identity, 3) + filled(spool, identity, 2, grant=OTHER_GRANT)
    used = spool.used
    spool.close()
    again = Spool(tmp_path / "spool", quota=1 << 20)
    assert sorted(again.waiting(), key=lambda s: (s.grant_id, s.number)) == sealed
    assert again.lost == ()
    assert again.used == used == sum(segment.size for segment in sealed)
    again.close()


def test_a_stored_segment_is_deleted_and_its_number_never_used_again(tmp_path, identity):
    """After the guard stored everything the disk holds one empty marker; numbers go on from it."""
    root = tmp_path / "spool"
    spool = Spool(root, quota=1 << 20)
    for segment in filled(spool, identity, 3):
        spool.stored(segment.grant_id, segment.number)
    assert (spool.waiting(), spool.used) == ((), 0)
    assert files(root) == {f"{GRANT}/3.stored"}
    assert (root / GRANT / "3.stored").stat().st_size == 0
    spool.close()
    again = Spool(root, quota=1 << 20)
    assert [segment.number for segment in filled(again, identity, 1)] == [4]
    assert files(root) == {f"{GRANT}/4.pcapng.age", f"{GRANT}/4.json"}
    again.close()


def test_stored_in_any_order(spool, identity, tmp_path):
    """Segments may be stored newest first; what waits stays, and the highest number is kept."""
    first, second = filled(spool, identity, 2)
    spool.stored(GRANT, second.number)
    assert spool.waiting() == (first,)
    spool.stored(GRANT, first.number)
    assert files(tmp_path / "spool") == {f"{GRANT}/2.stored"}


def test_a_grant_is_forgotten_only_when_nothing_waits(spool, identity, tmp_path):
    """Forgetting removes the folder, and refuses while a segment still waits."""
    (segment,) = filled(spool, identity, 1)
    with pytest.raises(ValueError, match="waiting"):
        spool.forget(GRANT)
    spool.stored(GRANT, segment.number)
    spool.forget(GRANT)
    spool.forget(OTHER_GRANT)
    assert list((tmp_path / "spool").iterdir()) == []


def damage_size(folder):
    with (folder / "1.pcapng.age").open("ab") as file:
        file.write(b"x")


def damage_sidecar(folder):
    (folder / "1.json").write_bytes((folder / "1.json").read_bytes() + b" ")


def damage_owner(folder):
    fields = json.loads((folder / "1.json").read_bytes())
    fields["grant_id"] = OTHER_GRANT
    (folder / "1.json").write_bytes(
        json.dumps(fields, separators=(",", ":"), sort_keys=True).encode()
    )


def damage_missing(folder):
    (folder / "1.json").unlink()


@pytest.mark.parametrize(
    "damage", [damage_size, damage_sidecar, damage_owner, damage_missing], ids=lambda f: f.__name__
)
def test_a_damaged_segment_is_reported_and_not_announced(tmp_path, identity, damage):
    """A sealed file that disagrees with its sidecar is named, kept on disk, and not uploaded."""
    root = tmp_path / "spool"
    spool = Spool(root, quota=1 << 20)
    filled(spool, identity, 1)
    spool.close()
    damage(root / GRANT)
    again = Spool(root, quota=1 << 20)
    assert [(lost.number, lost.loss) for lost in again.lost] == [(1, Loss.DAMAGED)]
    assert again.waiting() == ()
    assert (root / GRANT / "1.pcapng.age").exists()
    again.close()


@pytest.mark.parametrize("leftover", ["2.part", "2.json", "1.stored-with-data"])
def test_every_moment_of_a_kill_is_cleared(tmp_path, identity, leftover):
    """A kill between any two steps leaves nothing that is announced or takes room."""
    root = tmp_path / "spool"
    spool = Spool(root, quota=1 << 20)
    filled(spool, identity, 1)
    spool.close()
    folder = root / GRANT
    if leftover == "1.stored-with-data":
        (folder / "1.pcapng.age").rename(folder / "1.stored")
    elif leftover == "2.json":  # killed after the sidecar, before the rename
        (folder / "2.part").write_bytes(b"half")
        (folder / "2.json").write_bytes(b"{}")
    else:
        (folder / "2.part").write_bytes(b"half")
    again = Spool(root, quota=1 << 20)
    part = leftover != "1.stored-with-data"
    assert [(lost.number, lost.loss) for lost in again.lost] == (
        [(2, Loss.UNFINISHED)] if part else []
    )
    expected = {"2.lost", "1.pcapng.age", "1.json"} if part else {"1.stored"}
    assert {Path(name).name for name in files(root)} == expected
    assert all(p.stat().st_size == 0 for p in folder.iterdir() if p.suffix in {".lost", ".stored"})
    again.close()


def test_a_full_quota_ends_the_capture_with_its_last_segment_whole(tmp_path, identity, outcomes):
    """When the quota is used up, every announced segment opens and the end is reported as such."""
    spool = Spool(tmp_path / "spool", quota=300_000)
    one = writer(spool, identity, outcomes, limits=SegmentLimits(seconds=60))
    for n in range(100):
        one.write(batch(100, start=100 * n))
    (failed,) = outcomes.wait(CaptureFailed)
    assert failed.failure is Failure.SPOOL_FULL
    one.close()
    end = outcomes.closed()
    (segment,) = outcomes.segments
    pyrage.decrypt(segment.path.read_bytes(), [identity])
    assert segment.packets == end.totals.packets > 1000
    assert end.totals.packets + end.totals.drops == 10_000
    assert spool.used == segment.size <= 300_000
    assert not [name for name in files(tmp_path / "spool") if name.endswith(".part")]
    spool.close()


def test_room_comes_back_when_the_guard_has_stored(tmp_path, identity):
    """A spool that was full takes captures again after an upload."""
    spool = Spool(tmp_path / "spool", quota=9000)
    (segment,) = filled(spool, identity, 1)
    with pytest.raises(SpoolFull):
        spool.reserve(9000)
    spool.stored(GRANT, segment.number)
    spool.reserve(9000)
    spool.release(9000)
    spool.close()


def assert_ended_clean(root: Path, outcomes, identity) -> None:
    """Check that the full disk was reported, every announced file opens, no other has a name."""
    (failed,) = outcomes.wait(CaptureFailed)
    assert failed.failure is Failure.SPOOL_FULL
    for segment in outcomes.segments:
        pyrage.decrypt(segment.path.read_bytes(), [identity])
    names = {Path(name).name for name in files(root)}
    announced = {segment.path.name for segment in outcomes.segments}
    assert {name for name in names if name.endswith(".age")} == announced
    assert not [name for name in names if name.endswith(".part")]


def test_a_file_size_limit_ends_the_capture_and_removes_the_segment(
    spool, identity, outcomes, tmp_path
):
    """Where the system refuses to let a file grow, the unfinished segment is removed and reported."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    one = writer(spool, identity, outcomes, limits=SegmentLimits(octets=100_000, seconds=60))
    one.write(batch(300))
    one.write(batch(300))
    outcomes.wait(SegmentSealed)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, hard))
        for n in range(10):
            one.write(batch(300, start=300 * n))
        outcomes.wait(CaptureFailed)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    one.close()
    outcomes.closed()
    assert_ended_clean(tmp_path / "spool", outcomes, identity)


TINY_DISK = """
import sys
from pathlib import Path
sys.path[:0] = {path!r}
from tests.agents.capture import test_spool
from tests.agents.capture.capture_support import Outcomes, batch
from agents.capture.outcomes import CaptureFailed
from agents.capture.sealing import SegmentLimits
from agents.capture.spool import Spool
import pyrage

root, identity, outcomes = Path({root!r}), pyrage.x25519.Identity.generate(), Outcomes()
spool = Spool(root, quota=1 << 30)
one = test_spool.writer(spool, identity, outcomes, limits=SegmentLimits(octets=400_000, seconds=60))
for n in range(40):
    one.write(batch(500, start=500 * n))
outcomes.wait(CaptureFailed)
one.close()
outcomes.closed()
test_spool.assert_ended_clean(root, outcomes, identity)
assert len(outcomes.segments) >= 1, outcomes.all
for segment in outcomes.segments:
    spool.stored(segment.grant_id, segment.number)
assert [s.packets for s in test_spool.filled(spool, identity, 1)] == [1]
print("clean", len(outcomes.segments))
"""


@pytest.mark.privileged
def test_a_real_full_disk_ends_the_capture_clean(tmp_path):
    """On a tmpfs of one megabyte: reported, announced files whole, usable again once emptied."""
    root = tmp_path / "disk" / "spool"
    root.parent.mkdir()
    code = TINY_DISK.format(path=[str(Path.cwd())], root=str(root))
    done = subprocess.run(
        [
            "unshare",
            "--mount",
            "sh",
            "-c",
            'mount -t tmpfs -o size=1m,mode=0700 tmpfs "$1" && exec "$2" -c "$3"',
            "sh",
            str(root.parent),
            sys.executable,
            code,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("clean")
