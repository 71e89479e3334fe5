"""Requests to MLflow's server: one pool, bounded waiting, and the platform's two errors.

Environment proxies (HTTP_PROXY) are not used: MLflow is a server of the platform.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import msgspec

from dojo.core.registry.errors import RegistryUnavailableError, UnknownVersionError

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager, Retry

# Statuses that pass by themselves. A creation is never repeated, because it may have happened.
PASSING_STATUSES = (429, 500, 502, 503, 504)

# First wait before a repetition, seconds. Each further one waits twice as long.
BACKOFF_SECONDS = 0.5


class _Refusal(msgspec.Struct):
    error_code: str = ""
    message: str = ""


class MlflowHttp:
    """A connection to MLflow's server. Threads may share one.

    Args:
        url: The tracking server, with user and password where it wants them.
        timeout_seconds: Longest wait for a connection, and for each answer.
        retries: Repetitions after a failed attempt.
    """

    def __init__(self, url: str, timeout_seconds: float, retries: int) -> None:
        address = urlsplit(url)
        self._credentials = (
            f"{unquote(address.username)}:{unquote(address.password or '')}"
            if address.username
            else ""
        )
        self._url = address._replace(netloc=address.netloc.rpartition("@")[2]).geturl().rstrip("/")
        self._timeout_seconds, self._retries = timeout_seconds, retries
        self._pool: PoolManager | None = None

    def request(
        self,
        method: str,
        path: str,
        about: str,
        body: bytes | None = None,
        *,
        repeat: bool = True,
        whole: bool = True,
    ) -> BaseHTTPResponse:
        """Ask once, or as often as `retries` allows, and return a good answer.

        Args:
            about: What is asked for, in the error's words.
            repeat: False for what must not happen twice.
            whole: False leaves the content to be read as a stream.

        Raises:
            UnknownVersionError: MLflow says that it does not exist.
            RegistryUnavailableError: MLflow does not answer, or refuses for another reason.
        """
        from urllib3.exceptions import HTTPError

        try:
            answer = self._connected().request(
                method,
                f"{self._url}{path}",
                body=body,
                headers=self._headers(body),
                timeout=self._timeout_seconds,
                retries=self._patience(repeat),
                redirect=False,
                preload_content=whole,
            )
            if answer.status < 400:
                return answer
            content = answer.data
        except HTTPError as error:
            raise RegistryUnavailableError(f"{about}: MLflow did not answer: {error}") from error
        raise _refused(about, answer.status, content)

    def _headers(self, body: bytes | None) -> dict[str, str]:
        from urllib3.util import make_headers

        headers: dict[str, str] = (
            make_headers(basic_auth=self._credentials) if self._credentials else {}
        )
        return {**headers, "Content-Type": "application/json"} if body is not None else headers

    def _patience(self, repeat: bool) -> Retry:
        from urllib3 import Retry

        return Retry(
            connect=self._retries,
            read=self._retries if repeat else 0,
            status=self._retries if repeat else 0,
            other=0,
            total=self._retries,
            allowed_methods=None,  # all: setting a tag or an alias twice is setting it once
            status_forcelist=PASSING_STATUSES,
            backoff_factor=BACKOFF_SECONDS,
            raise_on_status=False,
        )

    def _connected(self) -> PoolManager:
        if self._pool is None:
            from urllib3 import PoolManager  # 0.15 s to import: not before there is a question

            self._pool = PoolManager(maxsize=4)  # threads that ask at once; more would connect anew
        return self._pool


def _refused(about: str, status: int, content: bytes) -> Exception:
    """MLflow's refusal as one of the platform's errors.

    MLflow calls an absent alias, and a version that is no number, an invalid parameter.
    """
    try:
        refusal = msgspec.json.decode(content, type=_Refusal)
    except msgspec.MsgspecError:
        return RegistryUnavailableError(f"{about}: MLflow answered with HTTP status {status}")
    text = refusal.message.lower()
    missing = refusal.error_code == "RESOURCE_DOES_NOT_EXIST" or (
        refusal.error_code == "INVALID_PARAMETER_VALUE" and ("alias" in text or "version" in text)
    )
    if missing:
        return UnknownVersionError(f"{about}: not in the registry ({refusal.message})")
    return RegistryUnavailableError(
        f"{about}: MLflow refused: {refusal.message} ({refusal.error_code}, HTTP status {status})"
    )
