"""ML-DSA-44 (FIPS 204), where the cryptographic library has it.

1. The library is asked for it when a key is used, so that one without it still serves Ed25519. A
   key of this type is then refused, and the refusal says what is missing.
2. Signatures are made with the empty context, as C2SP tlog-cosignature does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm

from guard.core.reasons import Reason, Refused

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

__all__ = ["PUBLIC_BYTES", "mldsa44_public"]

PUBLIC_BYTES = 1312
_MISSING = "a key is ML-DSA-44, which this installation of the library cryptography cannot use"


def mldsa44_public(raw: bytes) -> MLDSA44PublicKey:
    """Return the key for the cryptographic library.

    Raises Refused(DOCUMENT_MALFORMED), also where there is no ML-DSA-44 (rule 1).
    """
    try:
        from cryptography.hazmat.primitives.asymmetric.mldsa import (  # noqa: PLC0415 - rule 1
            MLDSA44PublicKey,
        )

        return MLDSA44PublicKey.from_public_bytes(raw)
    except (ImportError, UnsupportedAlgorithm) as error:
        raise Refused(Reason.DOCUMENT_MALFORMED, _MISSING) from error
    except ValueError as error:
        raise Refused(Reason.DOCUMENT_MALFORMED, "an ML-DSA-44 key is malformed") from error
