"""The gatekeeper's composition root: from a configuration to a running server, and back down.

1. Whatever is wrong refuses the start with one sentence: keys, a trust policy that the pinned roots
   did not sign, a log key that the policy does not name, witnesses that cannot make the quorum, a
   store that does not hold what the log signed or is older than what the log has published, a
   method without a row.
2. Everything that runs, runs in one task group: the death of one is the end of all, and whoever
   supervises the process starts it anew. What is in the log is in the log.
3. SIGTERM and SIGINT end open calls within seconds, then the ledger, then the publishing, then the
   store.
4. The listener speaks TLS with client certificates. Its files are looked at for every handshake;
   new ones are used once they fit together, and until then the old ones are.
"""

from __future__ import annotations

import asyncio
import gc
import secrets
import signal
import stat
import sys
import uuid
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import grpc
import structlog
from google.protobuf.internal import api_implementation

from guard.app.notify import HookFailed, Messenger, Notifier
from guard.app.office import Office
from guard.app.ports import Clock, LedgerUnavailable, LedgerUnusable
from guard.app.presence import Presence
from guard.app.reconcile import Reconciler
from guard.app.retention import Retention
from guard.app.segments import Segments
from guard.app.shelf import ShelfError
from guard.app.sweep import Sweep
from guard.app.trust import Trust, chain_at_start
from guard.clock import SystemClock
from guard.config import Config, NotifyConfig
from guard.core.incidents import Hook
from guard.core.note import KeyType, parse_vkey, verifier_key
from guard.core.reasons import Refused
from guard.core.reporting import Law
from guard.core.trust import TrustedPolicy, TrustPolicy, parse_roots
from guard.hooks.command import CommandHook
from guard.hooks.webhook import Webhook
from guard.keys import KeyFileError, load_ed25519, load_signer, read_secret
from guard.log.cosigning import Cosigner, WitnessEndpoint
from guard.log.publishing import PublicLog
from guard.log.sequencer import Sequencer
from guard.services.gate import Gate
from guard.services.listener import Premises, add_services
from guard.services.methods import MethodsDisagreeError
from guard.services.tls import TlsFilesError, server_credentials
from guard.store.shelf import FileShelf
from guard.store.sqlite import SqliteStore

__all__ = ["StartRefusedError", "run", "serve"]

_LOG = structlog.get_logger("callguard.guard")
_GRACE: Final = 2.0
_BETWEEN_DISCARDS: Final = 3600.0
_LOOK_EVERY: Final = 1.0
_SQLITE: Final = "sqlite:///"
_MIB: Final = 1024 * 1024
_OPTIONS: Final = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", _MIB),
    ("grpc.max_send_message_length", 32 * _MIB),
    ("grpc.max_metadata_size", 16 * 1024),
    ("grpc.max_concurrent_streams", 128),
    # A frozen peer is noticed in seconds only with the ping's own time limit.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Half of what clients are told to keep, so that jitter is no offence.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    # A new handshake looks at certificates and authorities again.
    ("grpc.max_connection_age_ms", 4 * 3600 * 1000),
    ("grpc.max_connection_age_grace_ms", 600 * 1000),
)


class StartRefusedError(Exception):
    """The gatekeeper does not start; the message says why in one sentence."""


class _SystemEntropy:
    """The operating system's chance."""

    @staticmethod
    def new_id() -> str:
        return str(uuid.uuid4())

    @staticmethod
    def new_salt() -> bytes:
        return secrets.token_bytes(32)


@dataclass(frozen=True, slots=True, kw_only=True)
class _House:
    """Everything that is put together before the first call is taken."""

    premises: Premises
    sweep: Sweep
    retention: Retention
    cosigner: Cosigner
    closing: ExitStack


def run(config: Config) -> None:
    """Serve until told to stop; raises StartRefusedError."""
    configure_logging()
    asyncio.run(serve(config))


def configure_logging() -> None:
    """Log one JSON object a line to standard error, from level info on."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        logger_factory=structlog.WriteLoggerFactory(sys.__stderr__),
        cache_logger_on_first_use=True,
    )


async def serve(
    config: Config, *, clock: Clock | None = None, ready: Callable[[int], None] | None = None
) -> None:
    """Serve until SIGTERM, SIGINT or cancellation; ``ready`` is called with the port.

    Raises StartRefusedError.
    """
    house = _put_together(config, clock or SystemClock())
    _collect_seldom()
    try:
        await house.premises.trust.adopt_at_start()
        gate = house.premises.gate()
        server = grpc.aio.server(
            interceptors=[gate], options=_OPTIONS, maximum_concurrent_rpcs=4096
        )
        port = _listen(server, house.premises, config)
        await server.start()
        _LOG.info("serving", address=config.listen, port=port)
        if ready is not None:
            ready(port)
        await _run_all(server, gate, house, config)
    finally:
        house.closing.close()
    _LOG.info("stopped")


def _collect_seldom() -> None:
    """Keep the collector from walking everything that was loaded at the start, again and again.

    Calls leave few cycles behind; walking the whole heap in the middle of one costs milliseconds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 50)


async def _run_all(server: grpc.aio.Server, gate: Gate, house: _House, config: Config) -> None:
    """Run every part until a signal comes (rules 2 and 3)."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        async with asyncio.TaskGroup() as tasks:
            others = [
                tasks.create_task(_sweep(house, config)),
                tasks.create_task(_discard(house, config)),
                tasks.create_task(_reconcile(house.premises.reconciler)),
                tasks.create_task(house.cosigner.run()),
                *(tasks.create_task(each.run()) for each in house.premises.notifiers),
            ]
            await stopping.wait()
            for task in others:
                task.cancel()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        gate.close()
        house.premises.office.bell.ring_all()
        await server.stop(_GRACE)


async def _sweep(house: _House, config: Config) -> None:
    """Look for what is due, at once when an authority has changed and in any case again and again.

    A full disk is no reason to stop looking.
    """
    due = house.premises.office.due
    while True:
        due.clear()
        for step in _steps(house, config):
            try:
                await step()
            except ShelfError as error:  # The records' retention does not wait for the files'.
                _LOG.error("sweep_failed", why=str(error))
            except LedgerUnavailable as error:
                _LOG.error("sweep_failed", why=str(error))
                break
        with suppress(TimeoutError):
            async with asyncio.timeout(config.sweep_interval.total_seconds()):
                await due.wait()


def _steps(house: _House, config: Config) -> tuple[Callable[[], Awaitable[object]], ...]:
    """Return what is looked for, in order."""
    segments = house.premises.segments
    return (
        house.sweep.run,
        partial(segments.delete_older, config.retention),
        house.retention.erase,
        house.retention.scrub,
    )


async def _discard(house: _House, config: Config) -> None:
    """Delete what was left of segments that never came to be, at the start and every hour."""
    while True:
        try:
            await house.premises.segments.discard_forgotten(config.retention)
        except (LedgerUnavailable, ShelfError) as error:
            _LOG.error("discard_failed", why=str(error))
        await asyncio.sleep(_BETWEEN_DISCARDS)


async def _reconcile(reconciler: Reconciler) -> None:
    """Hold the log against what nodes state, again and again."""
    while True:
        try:
            found = await reconciler.look()
            if found:
                _LOG.warning("findings", changed=found)
        except LedgerUnavailable as error:
            _LOG.error("reconciliation_failed", why=str(error))
        await asyncio.sleep(_LOOK_EVERY)


def _listen(server: grpc.aio.Server, premises: Premises, config: Config) -> int:
    try:
        add_services(server, premises)
        credentials = server_credentials(config.tls, _read_key)
        return server.add_secure_port(config.listen, credentials)
    except (MethodsDisagreeError, TlsFilesError) as error:
        raise StartRefusedError(str(error)) from error
    except RuntimeError as error:
        raise StartRefusedError(f"cannot listen on {config.listen}") from error


def _read_key(path: Path) -> bytes:
    try:
        return read_secret(path)
    except KeyFileError as error:
        raise TlsFilesError(str(error)) from error


def _put_together(config: Config, clock: Clock) -> _House:
    if api_implementation.Type() != "upb":
        raise StartRefusedError("protobuf runs without its C implementation, which is too slow")
    _require_private(config.data_dir)
    try:
        with ExitStack() as closing:
            return _furnish(config, clock, closing)
    except (KeyFileError, LedgerUnusable) as error:
        raise StartRefusedError(str(error)) from error


def _furnish(config: Config, clock: Clock, closing: ExitStack) -> _House:
    store = _open_store(config.database)
    closing.callback(store.close)
    signer = load_signer(config.signing_key)
    log_key = load_ed25519(config.log_key)
    trusted = _trusted(config, store, clock)
    policy = trusted.policy
    name = _own_name(policy, signer.public_key.keyid)
    if verifier_key(policy.log.origin, KeyType.NOTE, log_key.public_key()) != parse_vkey(
        policy.log.vkey
    ):
        raise StartRefusedError(f"{config.log_key} is not the log's key of the trust policy")
    _require_quorum(policy, config)
    public = PublicLog(config.log_dir, log=parse_vkey(policy.log.vkey))
    closing.callback(public.close)
    ledger = Sequencer(store, origin=policy.log.origin, key=log_key)
    closing.callback(ledger.close)
    public.hold_against(ledger)
    office = Office(
        ledger=ledger, clock=clock, entropy=_SystemEntropy(), signer=signer, trusted=trusted
    )
    presence = Presence()
    shelf = FileShelf(config.data_dir / "segments")
    cosigner = Cosigner(
        ledger,
        [WitnessEndpoint(name=each.name, url=each.url) for each in config.witnesses],
        policy=lambda: office.policy,
        public=public,
        clock=clock,
        announce=lambda _checkpoint: office.bell.ring_all(),
    )
    laws = tuple(map(Law, config.laws))
    premises = Premises(
        office=office,
        presence=presence,
        shelf=shelf,
        segments=Segments(office, shelf),
        trust=Trust(office),
        reconciler=Reconciler(office),
        quorum=cosigner,
        laws=laws,
        notifiers=tuple(
            Notifier(office=office, hook=hook, messenger=messenger, laws=laws, log=_LOG)
            for hook, messenger in _messengers(config.notify).items()
        ),
        log=_LOG,
    )
    return _House(
        premises=premises,
        sweep=Sweep(office, presence, name, cosigner),
        retention=Retention(office, config.record_retention),
        cosigner=cosigner,
        closing=closing.pop_all(),
    )


def _messengers(notify: NotifyConfig) -> dict[Hook, Messenger]:
    made: dict[Hook, Messenger] = {}
    if notify.command is not None:
        made[Hook.COMMAND] = CommandHook(notify.command)
    if notify.webhook is not None:
        token = None if notify.token is None else partial(_read_token, notify.token)
        made[Hook.WEBHOOK] = Webhook(notify.webhook, token=token, ca=notify.ca)
    return made


def _read_token(path: Path) -> bytes:
    try:
        return read_secret(path)
    except KeyFileError as error:
        raise HookFailed(str(error)) from error


def _trusted(config: Config, store: SqliteStore, clock: Clock) -> TrustedPolicy:
    try:
        roots = parse_roots(config.roots.read_bytes())
        configured = config.trust_policy.read_bytes()
    except OSError as error:
        raise StartRefusedError(f"cannot read {error.filename}: {error.strerror}") from error
    except Refused as refused:
        raise StartRefusedError(f"{config.roots}: {refused.detail}") from refused
    with store.read() as view:
        stored = view.trust_policies(0)
    try:
        return chain_at_start(roots, stored, configured, now=clock.now())
    except Refused as refused:
        raise StartRefusedError(f"no trust policy to start with: {refused.detail}") from refused


def _own_name(policy: TrustPolicy, keyid: str) -> str:
    for guard in policy.guards:
        if guard.key.keyid == keyid:
            return guard.name
    raise StartRefusedError("the trust policy names no guard with this signing key")


def _require_quorum(policy: TrustPolicy, config: Config) -> None:
    configured = {each.name for each in config.witnesses}
    reachable = {each.name for each in policy.log.witnesses if each.key.name in configured}
    if not policy.log.is_met(reachable):
        raise StartRefusedError(
            f"{len(reachable)} of the trust policy's witnesses are configured, which is no quorum: "
            f"{policy.log.words()} have to cosign"
        )


def _require_private(folder: Path) -> None:
    try:
        mode = folder.stat().st_mode
    except OSError as error:
        raise StartRefusedError(f"cannot use {folder}: {error.strerror}") from error
    if not stat.S_ISDIR(mode):
        raise StartRefusedError(f"{folder} is not a folder")
    if mode & 0o077:
        raise StartRefusedError(f"others can read {folder}; run: chmod 700 {folder}")


def _open_store(url: str) -> SqliteStore:
    if not url.startswith(_SQLITE) or len(url) == len(_SQLITE):
        raise StartRefusedError("database must be sqlite:///PATH in this release")
    try:
        return SqliteStore(Path(url.removeprefix(_SQLITE)))
    except LedgerUnusable as error:
        raise StartRefusedError(str(error)) from error
