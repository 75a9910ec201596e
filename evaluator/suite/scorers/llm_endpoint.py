"""The judge's address: asked with patience that ends, so that an evaluation never hangs on somebody else's server.

A question is tried a few times within a bounded time. After several questions in a row without a grade, nothing is
asked for a while: the remaining cases stay undecided at once instead of waiting one by one for a server that is gone.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx
import orjson
import tenacity

from sidestep.evaluator.suite.scorers.llm_grade import Grade, NoGrade, parse_grade
from sidestep.evaluator.suite.scorers.llm_settings import JudgeSettings
from sidestep.shared.logs import get_logger

ATTEMPTS = 3
REQUEST_SECONDS = 20.0
QUESTION_SECONDS = 45.0  # after this no further attempt is begun; far below the silence that counts as a hung worker
LONGEST_PAUSE_SECONDS = 5.0
FAILURES_IN_A_ROW = 3
REST_SECONDS = 300.0
MAX_REPLY_BYTES = 1 << 20

log = get_logger("evaluator.judge")


class _AskAgain(NoGrade):
    """Another attempt may succeed."""


class JudgeEndpoint:
    """Asks one model at one OpenAI-compatible address. Redirects are not followed: the key goes nowhere else."""

    def __init__(
        self,
        settings: JudgeSettings,
        *,
        request_seconds: float = REQUEST_SECONDS,
        first_pause: float = 0.5,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        headers = {"Content-Type": "application/json", "User-Agent": "sidestep"}
        if settings.key:
            headers["Authorization"] = f"Bearer {settings.key}"
        self._url = f"{settings.url}/chat/completions"
        self._seconds = request_seconds
        self._first_pause = first_pause
        self._now = now
        self._client = httpx.Client(timeout=request_seconds, headers=headers, follow_redirects=False)
        self._failures = 0
        self._resting_until = 0.0

    def ask(self, body: bytes) -> Grade:
        """The grade. Raises NoGrade after the last attempt, or at once while the endpoint is left alone."""
        if self._now() < self._resting_until:
            raise NoGrade(f"it is not asked for now, after {FAILURES_IN_A_ROW} questions in a row without a grade")
        try:
            grade: Grade = self._retrying()(self._ask_once, body)
        except NoGrade as error:
            self._count_failure(error)
            raise
        self._failures = 0
        return grade

    def _retrying(self) -> tenacity.Retrying:
        return tenacity.Retrying(
            stop=tenacity.stop_after_attempt(ATTEMPTS) | tenacity.stop_after_delay(QUESTION_SECONDS - self._seconds),
            wait=tenacity.wait_exponential(self._first_pause, max=LONGEST_PAUSE_SECONDS),
            retry=tenacity.retry_if_exception_type(_AskAgain),
            reraise=True,
        )

    def _count_failure(self, error: NoGrade) -> None:
        self._failures += 1
        if self._failures < FAILURES_IN_A_ROW:
            return
        self._failures, self._resting_until = 0, self._now() + REST_SECONDS
        log.warning("the judge is left alone for %.0f s: %s; its checks stay undecided", REST_SECONDS, error)

    def _ask_once(self, body: bytes) -> Grade:
        try:
            content = self._post(body)
        except httpx.TimeoutException as error:
            raise _AskAgain(f"no answer within {self._seconds:g} s") from error
        except (httpx.InvalidURL, UnicodeError) as error:
            raise NoGrade(f"the request cannot be sent ({type(error).__name__})") from error
        except httpx.HTTPError as error:
            raise _AskAgain(f"the endpoint cannot be reached ({type(error).__name__})") from error
        try:
            text = orjson.loads(content)["choices"][0]["message"]["content"]
            if not isinstance(text, str):
                raise TypeError("no text")
        except (ValueError, LookupError, TypeError) as error:
            raise _AskAgain("the endpoint did not answer in the form of chat completions") from error
        try:
            return parse_grade(text)
        except NoGrade as error:
            raise _AskAgain(str(error)) from error

    def _post(self, body: bytes) -> bytes:
        """The reply's body: bounded in size, and in time also when it comes drop by drop."""
        deadline = self._now() + self._seconds
        content = bytearray()
        with self._client.stream("POST", self._url, content=body) as reply:
            status = reply.status_code
            if status in (httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_MANY_REQUESTS) or reply.is_server_error:
                raise _AskAgain(f"the endpoint answered {status}")
            if not reply.is_success:
                raise NoGrade(f"the endpoint answered {status}")
            for chunk in reply.iter_bytes():
                content += chunk
                if len(content) > MAX_REPLY_BYTES:
                    raise NoGrade(f"the reply is larger than {MAX_REPLY_BYTES} bytes")
                if self._now() > deadline:
                    raise httpx.ReadTimeout("the reply came too slowly")
        return bytes(content)
