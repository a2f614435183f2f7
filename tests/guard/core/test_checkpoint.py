"""Checkpoints and cosignatures, against a checkpoint that a public log and public witnesses signed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from guard.core.checkpoint import (
    Checkpoint,
    TrustedCheckpoint,
    cosign,
    parse_checkpoint,
    parse_checkpoint_text,
    sign_checkpoint,
    verify_checkpoint,
    verify_log_signature,
)
from guard.core.logpolicy import parse_log_policy
from guard.core.merkle import EMPTY_ROOT
from guard.core.note import (
    KeyType,
    NoteSignature,
    encode_vkey,
    parse_note,
    verifier_key,
    with_signatures,
)
from guard.core.reasons import Reason, Refused
from tests.builders.deployment import log_policy

# A checkpoint of a staging log of transparency.dev of May 2026 as its public witnesses cosigned it,
# with the keys that log and witness publish.
PUBLIC = """arche2025h1.staging.ct.transparency.dev
1432088532
U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=

— arche2025h1.staging.ct.transparency.dev zTM8sQAAAZ5W0WdjBAMARjBEAiBjW5IQf9pvsYLfQFX6hoGREPMHbdQ3urbllzalApkptQIgIpwtEroeW2BXaHAI4kJXFbon5Ch9MNL5zRNZ55lvGt0=
— arche2025h1.staging.ct.transparency.dev ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfTW9g8Ei59RA23oHP7Ry1k3ZFWwQ=
— transparency.dev/DEV:witness-little-garden 2AQqhwAAAABqEiEgzgFIqqhbUoDwjMWE6UP8nd8/KYTzwZ2rhIgcqoXHAwVkjZr4AscylP3v7sEodkRAErumC2q44vdgJY096st5BQ==
— witness1.smartit.nu/witness1 pIyCDwAAAABqEiEghIp82KWebrw7/oHQwlTAm3g2RKS4+eebl8eO0WH+/iEcxZ75W3u5hNI7TOQtmJbqmNWVuE0tgh0XwzdZsDsUAQ==
— remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTynk5XeU/zZ0WBxtqB0DrAWfBw==
— witness.stagemole.eu Z/euoAAAAABqEiEgw0i+7g2ENfDAWHmtRzCfKTHSDwYDJA2NmKeGi9Y8FtEyOUvVr+AJmIY/2TUFucgKi7lI7cUiOvKFYe/TmN9DAg==
""".encode()
PUBLIC_LOG = (
    "arche2025h1.staging.ct.transparency.dev+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f"
)
PUBLIC_WITNESSES = [
    "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2",
    "witness.stagemole.eu+67f7aea0+BEqSG3yu9YrmcM3BHvQYTxwFj3uSWakQepafafpUqklv",
    "transparency.dev/DEV:witness-little-garden+d8042a87+BCtusOxINQNUTN5Oj8HObRkh2yHf/MwYaGX4CPdiVEPM",
    "witness1.smartit.nu/witness1+a48c820f+BPSFWg9G6KPiO7QPryYO5Xq4oYJJ+kAvLKLSimDhoxMO",
]
PUBLIC_TIME = datetime.fromtimestamp(0x6A122120, UTC)

NOW = datetime(2026, 11, 23, 22, tzinfo=UTC)
AGE = timedelta(minutes=5)
ORIGIN = "guard.example/log"
LOG = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
WITNESSES = [Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (2, 3, 4)]
LOG_VKEY = encode_vkey(verifier_key(ORIGIN, KeyType.NOTE, LOG.public_key()))
WITNESS_VKEYS = [
    encode_vkey(verifier_key(f"w{n}.example", KeyType.COSIGNATURE, key.public_key()))
    for n, key in enumerate(WITNESSES)
]
CHECKPOINT = Checkpoint(origin=ORIGIN, size=7, root=b"\x05" * 32)


def cosigned(*times: datetime | None, checkpoint: Checkpoint = CHECKPOINT) -> bytes:
    """Sign the checkpoint and cosign it by each witness for which a time is given."""
    note = parse_note(sign_checkpoint(checkpoint, ORIGIN, LOG))
    lines = [
        cosign(note, f"w{n}.example", WITNESSES[n], time)
        for n, time in enumerate(times)
        if time is not None
    ]
    return with_signatures(note, lines).encode()


def verify(data: bytes, **changed) -> TrustedCheckpoint:
    """Verify with two witnesses of three unless told otherwise."""
    policy = log_policy(
        changed.pop("log", LOG_VKEY),
        changed.pop("witnesses", WITNESS_VKEYS),
        changed.pop("quorum", 2),
    )
    settings = {"policy": policy, "now": NOW, "max_age": AGE}
    return verify_checkpoint(data, **(settings | changed))


def reason(data: bytes, **changed) -> Reason:
    """Why it is refused."""
    with pytest.raises(Refused) as caught:
        verify(data, **changed)
    return caught.value.reason


def test_a_public_logs_checkpoint_is_trusted():
    """A real checkpoint with four real witnesses verifies, and tells when it was cosigned."""
    trusted = verify(
        PUBLIC,
        log=PUBLIC_LOG,
        witnesses=PUBLIC_WITNESSES,
        quorum=4,
        now=PUBLIC_TIME + AGE,
    )
    assert (trusted.size, trusted.cosigned_at) == (1432088532, PUBLIC_TIME)


def test_a_public_checkpoint_ages():
    """The same checkpoint a second later is stale."""
    late = PUBLIC_TIME + AGE + timedelta(seconds=1)
    settings = {"log": PUBLIC_LOG, "witnesses": PUBLIC_WITNESSES, "now": late}
    assert reason(PUBLIC, **settings) is Reason.CHECKPOINT_STALE


def test_a_quorum_makes_it_trusted():
    """Two of three are enough for two, and the older of the two dates the checkpoint."""
    trusted = verify(cosigned(NOW - timedelta(seconds=9), None, NOW))
    assert (trusted.origin, trusted.size, trusted.root) == (ORIGIN, 7, b"\x05" * 32)
    assert trusted.cosigned_at == NOW - timedelta(seconds=9)


def test_too_few_witnesses_are_named():
    """One witness is not two, and none is not one."""
    assert reason(cosigned(NOW)) is Reason.WITNESS_QUORUM_MISSING
    assert reason(cosigned(), quorum=1) is Reason.WITNESS_QUORUM_MISSING


def test_one_witness_counts_once():
    """Two cosignatures of one key are not two witnesses."""
    note = parse_note(cosigned(NOW))
    again = cosign(note, "w0.example", WITNESSES[0], NOW - timedelta(seconds=1))
    data = with_signatures(note, [again]).encode()
    assert reason(data) is Reason.WITNESS_QUORUM_MISSING


def test_groups_decide_whose_cosignatures_suffice():
    """One of the first two, and the third: any two are not enough, and the older time counts."""
    names = dict(zip("abc", WITNESS_VKEYS, strict=True))
    lines = [f"log {LOG_VKEY}", *(f"witness {name} {vkey}" for name, vkey in names.items())]
    lines += ["group ours any a b", "group both all ours c", "quorum both", ""]
    policy = parse_log_policy("\n".join(lines))
    earlier = NOW - timedelta(seconds=5)
    with pytest.raises(Refused) as caught:
        verify(cosigned(NOW, NOW), policy=policy)
    assert caught.value.reason is Reason.WITNESS_QUORUM_MISSING
    assert verify(cosigned(NOW, None, earlier), policy=policy).cosigned_at == earlier
    assert verify(cosigned(earlier, NOW, NOW), policy=policy).cosigned_at == NOW


def test_age_is_counted_to_the_second():
    """At the limit a checkpoint is trusted, a second beyond it is stale."""
    assert verify(cosigned(NOW - AGE, NOW - AGE)).cosigned_at == NOW - AGE
    older = NOW - AGE - timedelta(seconds=1)
    assert reason(cosigned(NOW, older)) is Reason.CHECKPOINT_STALE


def test_old_cosignatures_do_not_hide_fresh_ones():
    """A stale third witness takes nothing from a fresh quorum."""
    assert verify(cosigned(NOW, NOW - timedelta(days=9), NOW)).cosigned_at == NOW


def test_a_cosignature_from_the_future_does_not_count():
    """A minute ahead counts, a second more does not."""
    ahead = NOW + timedelta(seconds=60)
    assert verify(cosigned(NOW, ahead)).size == 7
    beyond = ahead + timedelta(seconds=1)
    assert reason(cosigned(NOW, beyond)) is Reason.WITNESS_QUORUM_MISSING


@given(st.data())
def test_any_altered_byte_is_refused(data):
    """With every witness demanded, no byte of a checkpoint can change."""
    raw = bytearray(cosigned(NOW, NOW, NOW))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Refused):
        verify(bytes(raw), quorum=3)


def test_another_logs_checkpoint_is_untrusted():
    """Another key under the same name, and another name under the same key, are not the log."""
    other = Ed25519PrivateKey.from_private_bytes(b"\x09" * 32)
    forged = sign_checkpoint(CHECKPOINT, ORIGIN, other)
    assert reason(forged) is Reason.CHECKPOINT_UNTRUSTED
    renamed = Checkpoint(origin="other.example/log", size=7, root=b"\x05" * 32)
    assert reason(sign_checkpoint(renamed, ORIGIN, LOG)) is Reason.CHECKPOINT_UNTRUSTED


def test_a_false_cosignature_of_a_known_witness_refuses_all():
    """A witness's cosignature that does not verify refuses even what a quorum signed."""
    note = parse_note(cosigned(NOW, NOW))
    true = cosign(note, "w2.example", WITNESSES[2], NOW)
    for signature in (true.signature[:-1] + b"\0", true.signature + b"\0", b"x" * 64):
        false = NoteSignature(name=true.name, key_id=true.key_id, signature=signature)
        data = with_signatures(note, [false]).encode()
        assert reason(data) is Reason.CHECKPOINT_UNTRUSTED


def test_a_witness_key_cannot_sign_for_the_log():
    """A note under a witness's key is not the log's, whatever name it has."""
    as_witness = verifier_key(ORIGIN, KeyType.COSIGNATURE, LOG.public_key())
    with pytest.raises(Refused) as caught:
        verify_log_signature(parse_note(cosigned(NOW, NOW)), as_witness)
    assert caught.value.reason is Reason.CHECKPOINT_UNTRUSTED


def test_a_time_beyond_all_calendars_is_refused():
    """A cosignature of the year 292277026596 is refused, not a crash."""
    note = parse_note(cosigned())
    moment = (2**63 - 1).to_bytes(8)
    text = f"cosignature/v1\ntime {2**63 - 1}\n{note.text}".encode()
    line = cosign(note, "w0.example", WITNESSES[0], NOW)
    far = NoteSignature(
        name=line.name, key_id=line.key_id, signature=moment + WITNESSES[0].sign(text)
    )
    data = with_signatures(note, [far]).encode()
    assert reason(data, quorum=1) is Reason.CHECKPOINT_UNTRUSTED


@pytest.mark.parametrize(
    "text",
    [
        "",
        "origin\n7\n",
        "\n7\nBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU=\n",
        "origin\n07\nBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU=\n",
        "origin\n-7\nBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU=\n",
        "origin\n\u0667\nBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU=\n",
        "origin\n9223372036854775808\nBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU=\n",
        "origin\n7\nBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQV=\n",
        "origin\n7\nBQUF\n",
        "origin\n0\nBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU=\n",
        "origin\n7\nBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU=\nextension\n",
        "origin\n7\nBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU=",
    ],
)
def test_malformed_texts_are_refused(text):
    """A checkpoint is three lines in their one spelling, and an empty tree has its own root."""
    with pytest.raises(Refused) as caught:
        parse_checkpoint_text(text)
    assert caught.value.reason is Reason.DOCUMENT_MALFORMED


@given(st.integers(0, 2**63 - 1), st.binary(min_size=32, max_size=32))
def test_checkpoints_are_read_as_written(size, root):
    """Signing and reading gives the same tree head."""
    checkpoint = Checkpoint(origin=ORIGIN, size=size, root=root if size else EMPTY_ROOT)
    assert parse_checkpoint(sign_checkpoint(checkpoint, ORIGIN, LOG)) == checkpoint


def test_only_the_verifier_makes_a_trusted_checkpoint():
    """Nobody can make the type by hand."""
    with pytest.raises(TypeError):
        TrustedCheckpoint(origin=ORIGIN, size=7, root=b"\x05" * 32, cosigned_at=NOW, token=object())
