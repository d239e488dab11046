"""A judge behind an endpoint that answers POST {url}/chat/completions as OpenAI's does."""

import threading
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from steer.endpoint import OPENAI, RefusalError, Server, in_a_line
from steer.evaluate.embed import clean
from steer.study.judge.ask import Answer, Ask
from steer.study.judge.reading import read

CHARACTERS = 4  # a token, where nobody has counted them
SAID = 300  # characters of an answer that are kept
REFUSED = (400, 413, 422)  # what a server says of a request that it will not take, not of itself


@dataclass(frozen=True)
class EndpointJudge:
    """A model of a server. Texts leave this machine when it is asked.

    max_tokens: an answer takes one or two; models that reason first need hundreds. attempts: how often a question is
    asked whose answer cannot be read. Temperature 0, except of models that refuse to be told one.
    """

    ties: ClassVar[bool] = True
    parallel: ClassVar[bool] = True

    model: str
    name: str
    server: Server = field(default_factory=Server)
    max_tokens: int = 16
    attempts: int = 3
    _newer: threading.Event = field(default_factory=threading.Event, repr=False, compare=False)

    @property
    def asked_as(self) -> str:
        return f"openai:{self.model}" + ("" if self.server.url == OPENAI else f"@{self.server.url}")

    @property
    def signature(self) -> str:
        return f"openai {self.model} at {self.server.url} temperature=0 max_tokens={self.max_tokens}"

    def check(self) -> None:
        self.server.key()

    def tokens(self, ask: Ask) -> tuple[int, int]:
        return _estimated(ask.prompt), self.max_tokens

    def answer(self, ask: Ask) -> Answer:
        """What is no answer is asked for again, with a reminder. An error only where the last attempt met one."""
        best = Answer(None, "")
        for attempt in range(1, self.attempts + 1):
            text = ask.prompt if attempt == 1 else f"{ask.prompt}\n\n{_reminder(ask, attempt)}"
            try:
                found = self._read(self._post(text), text, ask.ties)
            except RefusalError as error:  # the server has been waited for already
                return replace(best, error=str(error), refused=error.status in REFUSED)
            except ValueError as error:  # an answer, but not of a chat
                found = Answer(None, "", error=str(error))
            best = replace(
                found, tokens_in=best.tokens_in + found.tokens_in, tokens_out=best.tokens_out + found.tokens_out
            )
            if found.choice:
                break
        return best

    def _post(self, text: str) -> dict[str, Any]:
        payload = {"model": self.model, "messages": [{"role": "user", "content": text}]}
        if not self._newer.is_set():
            try:
                return self.server.post("chat/completions", payload | {"temperature": 0, "max_tokens": self.max_tokens})
            except RefusalError as error:
                # Models that reason take neither parameter, and say so.
                if error.status != 400 or not ("max_tokens" in str(error) or "temperature" in str(error)):
                    raise
                self._newer.set()
        return self.server.post("chat/completions", payload | {"max_completion_tokens": self.max_tokens})

    def _read(self, answer: dict[str, Any], text: str, ties: bool) -> Answer:
        """Raises ValueError where the answer is none of a chat."""
        try:
            content = answer["choices"][0]["message"].get("content") or ""
            if isinstance(content, list):
                content = "".join(str(part.get("text", "")) for part in content)
            usage = answer.get("usage") or {}
            counted = usage.get("prompt_tokens"), usage.get("completion_tokens")
        except (AttributeError, IndexError, KeyError, TypeError):
            said = in_a_line(str(answer))
            raise ValueError(f"{self.server.url} answered with something else than a chat: {said}") from None
        said = clean(str(content))
        tokens = _counted(counted[0], text), _counted(counted[1], said)
        return Answer(read(said, ties), said[-SAID:], *tokens)


def _reminder(ask: Ask, attempt: int) -> str:
    letters = "A, B or tie" if ask.ties else "A or B"
    return f"(This is attempt {attempt}: the last answer could not be read. Write {letters}, and nothing else.)"


def _estimated(text: str) -> int:
    return -(-len(text) // CHARACTERS)


def _counted(count: object, text: str) -> int:
    """What the server has counted, where that is a number."""
    return count if type(count) is int and count >= 0 else _estimated(text)
