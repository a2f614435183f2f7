"""What an auditor can find wrong, by name.

1. A discrepancy is a contradiction that its reader can show to others: between signatures, tiles,
   entries and records. What was merely not found, or not reached, is none.
2. The sentence names indices, nodes and keys' names; never a subject or content.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Discrepancy", "Discrepant"]


class Discrepancy(StrEnum):
    """How what was verified is not as it must be."""

    CHECKPOINT_UNTRUSTED = "checkpoint_untrusted"
    """The log did not sign the checkpoint, or a signature on it does not verify."""
    QUORUM_MISSING = "quorum_missing"
    """Too few of the policy's witnesses cosigned."""
    CHECKPOINT_STALE = "checkpoint_stale"
    """The quorum cosigned longer ago than was asked for."""
    LOG_FORKED = "log_forked"
    """Two trees under one name: what is shown does not hold what was signed before."""
    LOG_SHRUNK = "log_shrunk"
    """What is shown is older than what was signed before."""
    TILE_MISSING = "tile_missing"
    """A tile or bundle that the checkpoint's size demands is not there."""
    TILE_ALTERED = "tile_altered"
    """A tile does not hold the hashes of what is below it."""
    ENTRY_REMOVED = "entry_removed"
    """An entry of the tree is not among the entries shown."""
    ENTRY_ADDED = "entry_added"
    """An entry is shown that is not in the tree."""
    ENTRY_ALTERED = "entry_altered"
    """Another entry is shown in the place of one of the tree."""
    ENTRY_REORDERED = "entry_reordered"
    """Entries of the tree are shown in another order."""
    ENTRY_MALFORMED = "entry_malformed"
    """An entry of the tree is not kind, time and digest."""
    ENTRY_BACKDATED = "entry_backdated"
    """An entry bears a time before that of what was in the log already."""
    ENTRY_POSTDATED = "entry_postdated"
    """An entry bears a time after witnesses had seen it."""
    RECORD_MISSING = "record_missing"
    """The record of an entry is not among the records."""
    RECORD_ADDED = "record_added"
    """A record stands for no entry."""
    RECORD_ALTERED = "record_altered"
    """A record is not what its entry's digest was made of."""
    RECORD_REORDERED = "record_reordered"
    """Records stand in another order than their entries."""
    RECORD_WITHHELD = "record_withheld"
    """A record is shown as erased, and its erasure is not on record."""
    RECORD_MALFORMED = "record_malformed"
    """A record says nothing that its kind can say."""
    POLICY_UNTRUSTED = "policy_untrusted"
    """A trust policy on record does not follow from the roots."""
    SAMPLE_STEERED = "sample_steered"
    """A sample is not what its nonce and the log make it, or leaves out uses."""
    RECEIPT_FORGED = "receipt_forged"
    """A receipt is not signed by its node, or its record says something else."""
    RECEIPT_MISSING = "receipt_missing"
    """A node's chain leaves out a receipt."""
    RECEIPT_REORDERED = "receipt_reordered"
    """A node's receipts stand in another order than it made them, or twice."""


class Discrepant(Exception):  # noqa: N818  the finding itself, as `Refused` is
    """The first thing found wrong; `index` is the entry it is about, where there is one."""

    def __init__(self, kind: Discrepancy, sentence: str, *, index: int | None = None) -> None:
        super().__init__(kind, sentence)
        self.kind = kind
        self.sentence = sentence
        self.index = index

    def __str__(self) -> str:
        return f"{self.kind}: {self.sentence}"
