"""A web address that is told of incidents.

1. The notice is the body of a POST, `application/json`. It has been taken when the answer's status
   is 2xx; nothing of the answer but its status is read.
2. Over https the server's certificate and name are verified, against the system's authorities or
   the file `ca`. http goes to loopback only (`guard.config`).
3. No redirect is followed, no proxy of the environment used, no cookie kept: the notice goes where
   the configuration says or nowhere.
4. Connecting, sending and answering have half a minute together.
5. A token, if there is one, is read from its file each time, so that it can be replaced, and is
   sent as `Authorization: Bearer`. No error names address or token: both may be secrets.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final

import aiohttp

from guard.app.notify import HookFailed

__all__ = ["Webhook"]

_SECONDS: Final = 30.0
_TOKEN: Final = re.compile(rb"[A-Za-z0-9._~+/-]{1,4096}=*")
_TAKEN: Final = range(200, 300)
_MOVED: Final = range(300, 400)


class Webhook:
    """Posts each notice; ``token`` reads the token's file and raises HookFailed if it cannot."""

    def __init__(
        self,
        url: str,
        *,
        token: Callable[[], bytes] | None,
        ca: Path | None,
        seconds: float = _SECONDS,
    ) -> None:
        self._url = url
        self._token = token
        self._ca = ca
        self._timeout = aiohttp.ClientTimeout(total=seconds)

    async def deliver(self, notice: bytes) -> None:
        """Post once; raises HookFailed."""
        headers = {"Content-Type": "application/json", **self._authorization()}
        try:
            status = await self._post(notice, headers, self._tls())
        except aiohttp.ClientConnectorCertificateError:
            raise HookFailed("the server's certificate is not trusted") from None
        except aiohttp.ClientSSLError:
            raise HookFailed("the TLS handshake failed") from None
        except TimeoutError:
            raise HookFailed("no answer in time") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise HookFailed(f"the server cannot be reached: {type(error).__name__}") from None
        if status in _MOVED:
            raise HookFailed(f"the server answered {status}; redirects are not followed")
        if status not in _TAKEN:
            raise HookFailed(f"the server answered {status}")

    async def _post(self, notice: bytes, headers: dict[str, str], tls: ssl.SSLContext) -> int:
        async with (
            aiohttp.ClientSession(
                timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
            ) as session,
            session.post(
                self._url, data=notice, headers=headers, ssl=tls, allow_redirects=False
            ) as answer,
        ):
            return answer.status

    def _authorization(self) -> dict[str, str]:
        if self._token is None:
            return {}
        token = self._token().strip()
        if not _TOKEN.fullmatch(token):
            raise HookFailed("the token's file does not hold a bearer token")
        return {"Authorization": f"Bearer {token.decode('ascii')}"}

    def _tls(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=None if self._ca is None else str(self._ca))
        except (OSError, ssl.SSLError) as error:
            raise HookFailed(f"{self._ca} holds no certificate that can be used") from error
