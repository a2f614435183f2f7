"""What a node is told: grants with evidence that its own verifier accepts, stops, leases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agents.core.verifier import NodeContext, verify_evidence
from guard.app.changes import PutAuthority
from guard.app.distribute import NodeFeed
from guard.app.ports import Plan, Reads
from guard.core.enforcement import Enforcement, SentryMode
from guard.core.evidence import Evidence
from guard.core.lifecycle import AuthorityState
from guard.core.reasons import Reason, Refused
from guard.core.receipt import ReceiptKind
from guard.core.record import RecordKind
from guard.core.subjects import MAX_SEALED
from tests.builders.healths import enforcing
from tests.builders.house import House, NodeHand


def feed(house: House, revision: int = 0, node: str = "node-1") -> NodeFeed:
    return NodeFeed(house.office, house.desk, node, revision)


def verify(house: House, evidence: Evidence, node: str = "node-1") -> object:
    keys = house.site.nodes[node]
    context = NodeContext(
        name=node,
        identities=[keys.identity],
        ended=(),
        revoked=(),
        guard_time=house.clock.now(),
        enforced=Enforcement.DETECT,
    )
    return verify_evidence(evidence, house.site.trusted, context, now=house.clock.now())


async def test_the_evidence_convinces_the_nodes_verifier(house: House) -> None:
    """A cosigned grant is offered with evidence that verifies offline."""
    view = await house.capture(await house.approved())
    await house.cosign()
    delta = feed(house).delta()
    (evidence,) = delta.offered
    assert verify(house, evidence).grant.id == view.row.id
    assert delta.revision == view.row.revision


async def test_a_grant_waits_for_the_witnesses(house: House) -> None:
    """Without a cosigned checkpoint that covers it a grant is not offered and not forgotten."""
    await house.cosign()
    await house.capture(await house.approved())
    node = feed(house)
    assert node.delta() is None
    assert node.waiting
    await house.cosign()
    assert len(node.delta().offered) == 1
    assert not node.waiting
    assert node.delta() is None


async def test_a_stale_checkpoint_is_not_handed_out(house: House) -> None:
    """In the last quarter of a checkpoint's age grants wait for a newer one."""
    await house.capture(await house.approved())
    await house.cosign()
    house.clock.move(seconds=house.site.policy.checkpoint_max_age.total_seconds() * 0.8)
    node = feed(house)
    assert node.delta() is None
    await house.cosign()
    assert node.delta().offered


async def test_a_checkpoint_of_strangers_is_not_handed_out(house: House) -> None:
    """A cosignature by a key that is not a witness's of the policy counts for nothing."""
    await house.capture(await house.approved())
    await house.cosign(key=Ed25519PrivateKey.generate())
    node = feed(house)
    assert node.delta() is None
    assert node.waiting


async def test_a_stop_overtakes_a_waiting_grant(house: House) -> None:
    """A word to stop waits for nothing, and the waiting grant is still offered later."""
    first = await house.capture(await house.approved())
    await house.cosign()
    node = feed(house)
    node.delta()
    second = await house.capture(await house.approved())
    stopped = await house.captures.stop(first.row.id, house.site.principal("operator-1"))
    delta = node.delta()
    assert [each.grant_id for each in delta.withdrawn] == [first.row.id]
    assert delta.revision < second.row.revision < stopped.row.revision
    assert node.delta() is None
    again = feed(house, revision=delta.revision)
    await house.cosign()
    assert len(node.delta().offered) == len(again.delta().offered) == 1


@pytest.mark.parametrize(
    ("by_authority", "reason"), [(True, Reason.REVOKED), (False, Reason.STATE_NOT_PERMITTED)]
)
async def test_a_withdrawal_says_why(house: House, by_authority: bool, reason: Reason) -> None:
    """Revocation names the authority, so that the node refuses it from then on."""
    view = await house.capture(await house.approved())
    person = house.site.principal("operator-1")
    if by_authority:
        await house.authorities.revoke(view.row.authority_id, "over", person)
    else:
        await house.captures.stop(view.row.id, person)
    (withdrawal,) = feed(house).delta().withdrawn
    assert withdrawal.reason is reason
    assert withdrawal.authority_id == (view.row.authority_id if by_authority else "")


async def test_a_node_that_comes_back_learns_only_what_changed(house: House) -> None:
    """After the revision it holds, a node is told the newer grants and no others."""
    ids = [await house.approved() for _ in range(3)]
    views = [await house.capture(each) for each in ids]
    await house.cosign()
    assert len(feed(house).delta().offered) == 3
    assert len(feed(house, views[1].row.revision).delta().offered) == 1
    assert feed(house, views[2].row.revision).delta() is None
    assert feed(house, node="node-2").delta() is None


async def test_the_nodes_own_news_are_not_told_back_as_grants(house: House) -> None:
    """An armed capture is not offered again in the session that armed it."""
    view = await house.capture(await house.approved())
    await house.cosign()
    node, hand = feed(house), NodeHand(house.site)
    node.delta()
    await house.receipts.take(hand.receipt(view.row.id), hand.identity)
    delta = node.delta()
    assert delta is not None
    assert not delta.offered
    assert not delta.withdrawn


async def test_leases_are_renewed_only_while_in_force(house: House) -> None:
    """A revoked, stopped or ended capture gets no renewal; a running one every third of its lease."""
    running = await house.capture(await house.approved())
    stopped = await house.capture(await house.approved())
    await house.captures.stop(stopped.row.id, house.site.principal("operator-1"))
    node = feed(house)
    renewed, pause = node.renewals()
    assert renewed == [running.row.id]
    assert pause == running.row.lease_seconds / 3
    house.clock.move(hours=1)
    assert node.renewals()[0] == []


async def test_no_lease_outlives_a_signers_key(house: House) -> None:
    """When the trust policy drops the approver, renewals stop with it."""
    await house.capture(await house.approved())
    node = feed(house)
    assert node.renewals()[0]
    others = tuple(each for each in house.site.policy.principals if each.name != "lead-1")
    fired = replace(house.site.policy, version=2, principals=others)
    await house.trust.publish(house.site.sign_policy(fired), "auditor-1")
    assert node.renewals()[0] == []


async def test_no_lease_under_an_expired_policy(house: House) -> None:
    """A trust policy that has expired renews nothing."""
    shorter = replace(
        house.site.policy, version=2, expires_at=house.site.now + timedelta(minutes=1)
    )
    await house.trust.publish(house.site.sign_policy(shorter), "auditor-1")
    await house.capture(await house.approved())
    node = feed(house)
    assert node.renewals()[0]
    house.clock.move(minutes=1)
    assert node.renewals()[0] == []


async def test_a_forged_row_yields_evidence_that_the_node_refuses(house: House) -> None:
    """Marking a ticket approved in the database arms nothing: not here, not on the node."""
    view = await house.register(house.site.register(house.site.authority()))

    def forge(reads: Reads, index: int) -> Plan[None]:
        row = replace(view.row, state=AuthorityState.APPROVED, revision=index)
        record = house.office.record(RecordKind.AUTHORITY_APPROVED, house.clock.now(), {})
        return Plan(result=None, records=(record,), changes=(PutAuthority(row),))

    await house.ledger.execute(forge)
    honest = await house.capture(await house.approved())
    await house.cosign()
    (evidence,) = feed(house).delta().offered
    forged = Evidence(authority=view.row.envelope, grant=honest.row.grant, proof=evidence.proof)
    with pytest.raises(Refused) as refused:
        verify(house, forged)
    assert refused.value.reason is Reason.APPROVALS_MISSING


async def test_much_is_told_in_several_deltas(house: House) -> None:
    """A delta holds about a megabyte; all grants arrive, each once, with rising revisions."""
    wanted = {
        (await house.capture(await house.approved(sealed_subjects=bytes(MAX_SEALED)))).row.id
        for _ in range(40)
    }
    await house.cosign()
    node = feed(house)
    sizes, revisions = [], []
    while delta := node.delta():
        sizes.append(len(delta.offered))
        revisions.append(delta.revision)
    assert sum(sizes) == len(wanted)
    assert len(sizes) > 1
    assert revisions == sorted(revisions)


async def test_an_ended_capture_is_not_offered_to_a_new_session(house: House) -> None:
    """What the node has ended stays ended."""
    view = await house.capture(await house.approved())
    hand = NodeHand(house.site)
    ended = hand.receipt(view.row.id, ReceiptKind.DISARMED, reason="expired")
    await house.receipts.take(ended, hand.identity)
    await house.cosign()
    assert feed(house).delta() is None


async def test_a_node_that_is_not_trusted(house: House) -> None:
    """No lease and no grant until it is well again; a word to stop does not wait for that."""
    hand = NodeHand(house.site)
    await house.answer(hand)
    running = (await house.capture(await house.approved())).row.id
    await house.cosign()
    node = feed(house)
    assert node.delta().offered
    assert node.renewals()[0] == [running]
    waiting = (await house.capture(await house.approved())).row
    await house.cosign()
    await house.state(hand, programs="cd" * 32)
    assert node.renewals() == ([], 10)
    assert node.delta() is None
    assert node.waiting
    assert feed(house, node="node-2").renewals()[0] == []

    await house.captures.stop(running, house.site.principal("operator-1"))
    delta = node.delta()
    assert [each.grant_id for each in delta.withdrawn] == [running]
    assert delta.offered == ()

    house.clock.move(seconds=1)
    await house.answer(hand, programs="ab" * 32)
    assert [verify(house, each).grant.id for each in node.delta().offered] == [waiting.id]
    assert node.renewals()[0] == [waiting.id]


async def test_an_untrusted_node_is_no_other_nodes_matter(house: House) -> None:
    """What runs elsewhere under the same authority goes on."""
    hands = NodeHand(house.site), NodeHand(house.site, "node-2")
    for hand in hands:
        await house.answer(hand)
    authority = await house.approved(nodes=("node-1", "node-2"))
    ids = [(await house.capture(authority, node=hand.name)).row.id for hand in hands]
    await house.cosign()
    await house.state(hands[0], programs="cd" * 32)
    assert feed(house).renewals()[0] == []
    assert feed(house, node="node-2").renewals()[0] == [ids[1]]


async def test_a_node_that_enforces_less_than_is_demanded(house: House) -> None:
    """Its lease is not renewed while its own word is less; what demands nothing goes on."""
    hand = NodeHand(house.site)
    hand.health = enforcing(Enforcement.PREVENT)
    await house.answer(hand)
    strict = (await house.capture(await house.approved(enforcement=Enforcement.PREVENT))).row.id
    free = (await house.capture(await house.approved())).row.id
    node = feed(house)
    assert set(node.renewals()[0]) == {strict, free}
    weaker = {"enforcement": Enforcement.DETECT, "mode": SentryMode.OBSERVE}
    await house.answer(hand, **weaker)
    assert node.renewals()[0] == [free]
