"""A deployment on disk: made by ``callguard init``, grown by ``callguard trust propose``.

1. `create` makes all or nothing: it works in a folder beside the target and renames it at the end.
   A target that holds anything is refused.
2. The roots sign version 1 here, two of three. Afterwards their keys belong offline, on different
   media with different people; no process reads them.
3. People are named by a new version of the trust policy, which the roots sign; the folder only
   holds what is handed out.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from securesystemslib.signer import SSlibKey

from guard.cli.certificates import CertificateAuthority, KeyPair, spiffe_id
from guard.cli.exits import TroubleError, UsageTroubleError, asking
from guard.cli.folders import (
    PublicHalf,
    make_folder,
    make_guard,
    make_node,
    make_person,
    make_public_folder,
    make_signing_key,
    make_witness,
    write_public,
)
from guard.cli.profile import read_certificate, write_whole
from guard.cli.revision import names_in, revised
from guard.cli.roster import NodeEntry, Person, Roster
from guard.core import envelope
from guard.core.instruments import DEFAULTS
from guard.core.logpolicy import majority, parse_log_policy, policy_text
from guard.core.note import KeyType, encode_vkey, verifier_key
from guard.core.trust import (
    GuardIdentity,
    Roots,
    TrustPolicy,
    encode_policy,
    encode_roots,
)
from guard.keys import KeyFileError, load_signer, read_secret, write_secret

__all__ = ["ADDRESS", "ORIGIN", "WITNESSES", "Deployment", "Site", "create", "split_address"]

_ROOTS, _THRESHOLD = 3, 2
_CHECKPOINT_AGE = timedelta(minutes=10)
_CLOCK_TOLERANCE = timedelta(seconds=10)
ADDRESS = "127.0.0.1:7443"
WITNESSES = ("127.0.0.1:7480", "127.0.0.1:7481")
ORIGIN = "callguard.example/log"
_LOOPBACK = ("127.0.0.1", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where the parts listen and what the log is called."""

    addresses: tuple[str, ...] = (ADDRESS,)
    witnesses: tuple[str, ...] = WITNESSES
    origin: str = ORIGIN

    @property
    def witness_names(self) -> list[str]:
        """The witnesses' key names: by them the guard knows whom it asks (C2SP signed-note)."""
        domain = self.origin.partition("/")[0]
        return [f"{domain}/witness-{number}" for number in range(1, len(self.witnesses) + 1)]

    @property
    def hosts(self) -> list[str]:
        """Every host under which the guard is dialled."""
        return [*(split_address(address)[0] for address in self.addresses), *_LOOPBACK]


def split_address(address: str) -> tuple[str, int]:
    """Take ``HOST:PORT`` or ``[IPv6]:PORT`` apart; raises UsageTroubleError."""
    host, colon, port = address.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not colon or not bare or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise UsageTroubleError(f"{address} is not an address like 127.0.0.1:7443 or [::1]:7443")
    if ":" in bare and not host.startswith("["):
        raise UsageTroubleError(f"write an IPv6 address in brackets, like [{bare}]:{port}")
    return bare, int(port)


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployment's folder."""

    folder: Path

    @property
    def policies(self) -> list[Path]:
        """The trust policies kept here, oldest first."""
        found = (self.folder / "trust").glob("[0-9]*.json")
        return sorted(found, key=lambda path: int(path.stem))

    def admit(self, roster: Roster, policy: TrustPolicy, site: Site, *, now: datetime) -> Roster:
        """Make folders for those of the roster who are new and brought no keys of their own.

        Returns the roster with every public half that is needed.
        """
        known = names_in(policy)
        ca = self._authority()
        roots, address = encode_roots(policy.roots), site.addresses[0]

        def admitted(entry: Person | NodeEntry, kind: str, place: str) -> PublicHalf | None:
            if entry.half is not None or entry.name in known:
                return entry.half
            pair = ca.client(kind, entry.name, now=now)
            make = make_person if kind == "person" else make_node
            target = self.folder / place / entry.name
            return make(target, entry.name, pair, ca.pair.certificate, roots, guard=address)

        people = (replace(each, half=admitted(each, "person", "people")) for each in roster.people)
        nodes = (replace(each, half=admitted(each, "node", "nodes")) for each in roster.nodes)
        return replace(roster, people=tuple(people), nodes=tuple(nodes))

    def renew(self, folder: Path, *, now: datetime) -> datetime:
        """Give a holder's folder a new TLS key and certificate of the same names; return its end.

        The key goes first and the certificate last: guard and agent take them up once they fit.
        Raises TroubleError.
        """
        before = read_certificate(folder / "tls.crt")
        pair = self._authority().renewed(before, now=now)
        write_whole(folder / "tls.key", pair.key)
        write_whole(folder / "tls.crt", pair.certificate, mode=0o644)
        return read_certificate(folder / "tls.crt").not_valid_after_utc

    def holders(self) -> dict[str, Path]:
        """Return the folders of everybody with a certificate, by name."""
        found = [self.folder / "guard", *(self.folder / "people").iterdir()]
        found += (self.folder / "nodes").iterdir()
        return {each.name: each for each in sorted(found) if (each / "tls.crt").exists()}

    def site(self) -> Site:
        """Return where the guard of this deployment is dialled."""
        address = (self.folder / "ca" / "address").read_text().strip()
        return Site(addresses=(address,))

    def _authority(self) -> CertificateAuthority:
        """Load the CA's key, which belongs on the machine where identities are made."""
        try:
            pair = KeyPair(
                certificate=(self.folder / "ca" / "ca.crt").read_bytes(),
                key=read_secret(self.folder / "ca" / "ca.key"),
            )
            return CertificateAuthority.load(pair)
        except (OSError, KeyFileError, ValueError) as error:
            raise TroubleError(f"cannot use the CA of {self.folder}: {error}") from error


def create(target: Path, roster: Roster, site: Site, *, now: datetime) -> Deployment:
    """Make a deployment at ``target`` (rule 1); raises UsageTroubleError or TroubleError."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageTroubleError(f"{target} is not empty; name a new folder")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        workshop = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
        try:
            _fill(workshop, roster, site, now=now)
            workshop.rename(target)
        except BaseException:
            shutil.rmtree(workshop, ignore_errors=True)
            raise
    except OSError as error:
        raise TroubleError(f"cannot make {target}: {error.strerror}") from error
    return Deployment(target)


def _fill(folder: Path, roster: Roster, site: Site, *, now: datetime) -> None:
    for name in ("roots", "ca", "trust", "witness", "nodes", "people"):
        make_folder(folder / name)
    make_public_folder(folder / "log")
    roots = _make_roots(folder / "roots")
    ca = _make_authority(folder / "ca", site, now=now)
    policy = _first_policy(folder, roots, ca, site, now=now)
    deployment = Deployment(folder)
    roster = deployment.admit(roster, policy, site, now=now)
    with asking():
        signed = _signed(revised(policy, roster, now=now), folder / "roots")
    write_public(folder / "trust" / "1.json", signed)
    write_public(folder / "guard" / "trust.json", signed)


def _make_roots(folder: Path) -> Roots:
    made = [make_signing_key(folder / f"root-{n}.key") for n in range(1, _ROOTS + 1)]
    return Roots(threshold=_THRESHOLD, keys=tuple(SSlibKey.from_crypto(key) for key in made))


def _make_authority(folder: Path, site: Site, *, now: datetime) -> CertificateAuthority:
    ca = CertificateAuthority.create(now=now)
    write_public(folder / "ca.crt", ca.pair.certificate)
    write_secret(folder / "ca.key", ca.pair.key)
    write_public(folder / "address", f"{site.addresses[0]}\n".encode())
    return ca


def _first_policy(
    folder: Path, roots: Roots, ca: CertificateAuthority, site: Site, *, now: datetime
) -> TrustPolicy:
    """Make guard, log and witness, and the policy that names them and nobody else."""
    pair = ca.server("guard-1", site.hosts, now=now)
    guard_key, log_key = make_guard(
        folder / "guard",
        pair,
        ca.pair.certificate,
        encode_roots(roots),
        listen=site.addresses[0],
        witnesses=[
            (name, f"http://{address}")
            for name, address in zip(site.witness_names, site.witnesses, strict=True)
        ],
    )
    log = _vkey(site.origin, KeyType.NOTE, log_key)
    witnesses = _make_witnesses(folder / "witness", site, log)
    return TrustPolicy(
        version=1,
        issued_at=now.replace(microsecond=0),
        expires_at=now.replace(microsecond=0) + timedelta(days=365),
        roots=roots,
        principals=(),
        nodes=(),
        guards=(_guard("guard-1", guard_key),),
        log=parse_log_policy(policy_text(log, witnesses, majority(len(witnesses)))),
        instruments=dict(DEFAULTS),
        test_subjects=(),
        checkpoint_max_age=_CHECKPOINT_AGE,
        clock_tolerance=_CLOCK_TOLERANCE,
    )


def _make_witnesses(folder: Path, site: Site, log: str) -> list[str]:
    """Make the folder of every witness of the log; return their vkeys."""
    made: list[str] = []
    for name, address in zip(site.witness_names, site.witnesses, strict=True):
        public = make_witness(folder / name.rpartition("/")[2], name, listen=address, log=log)
        made.append(_vkey(name, KeyType.COSIGNATURE, public))
    return made


def _guard(name: str, key: Ed25519PublicKey) -> GuardIdentity:
    return GuardIdentity(
        name=name, spiffe_id=spiffe_id("guard", name), key=SSlibKey.from_crypto(key)
    )


def _vkey(name: str, kind: KeyType, key: Ed25519PublicKey) -> str:
    return encode_vkey(verifier_key(name, kind, key))


def _signed(policy: TrustPolicy, roots: Path) -> bytes:
    """Sign with as many roots as the threshold asks (rule 2)."""
    made = envelope.Envelope(
        payload=encode_policy(policy), kind=envelope.Kind.TRUST_POLICY, signatures=()
    )
    for number in range(1, _THRESHOLD + 1):
        made = envelope.add_signature(made, load_signer(roots / f"root-{number}.key"))
    return envelope.encode(made)
