"""Putting on record that somebody was turned away at the door.

1. Recorded is a caller whom the trust policy knows and who asks for a decision without the role for
   it. The record names the caller and the method, as the use cases do when they deny; it holds
   nothing of the request.
2. A caller whom the trust policy does not know is logged and not recorded: whoever reaches the port
   with any certificate of the authority could otherwise fill the log.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from guard.app.office import Office
from guard.app.ports import Plan, Reads
from guard.core.decision import Deny
from guard.core.reasons import Reason
from guard.core.record import RecordKind

__all__ = ["Refusals"]

_WORDS: Final = re.compile(r"(?<!^)(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class Refusals:
    """Records refusals that no use case sees."""

    office: Office

    async def wrong_role(self, method: str, caller: str) -> Deny:
        """Record that a known caller may not use a deciding method, and return the denial.

        ``method`` is its full name on the wire: ``/package.Service/AddSignature``.
        """
        deny = Deny(
            reason=Reason.CALLER_ROLE_WRONG,
            sentence=f"{caller} does not hold a role that may do this",
        )

        def plan(_view: Reads, _index: int) -> Plan[None]:
            now = self.office.clock.now()
            body = {
                "method": _recorded(method),
                "principal": caller,
                "reason": str(deny.reason),
                "sentence": deny.sentence,
            }
            record = self.office.record(RecordKind.REQUEST_DENIED, now, body)
            return Plan(result=None, records=(record,))

        await self.office.execute(plan)
        return deny


def _recorded(method: str) -> str:
    """Return a method's name as records have it: ``add_signature``."""
    return _WORDS.sub("_", method.rpartition("/")[2]).lower()
