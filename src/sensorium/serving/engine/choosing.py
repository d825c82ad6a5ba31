"""The next token of one answer: greedy or drawn, within a grammar, with log-probabilities where they are asked for."""

from __future__ import annotations

import secrets

from torch import Tensor

from sensorium.models.decoding import DecodingSettings, generator, pick
from sensorium.serving.engine.grammars import Matcher, Vocabulary
from sensorium.serving.protocols import Sampling, ScoredToken

LEAST_TEMPERATURE = 1e-3  # below it the likeliest token is as good as certain, and divided logits overflow


class Chooser:
    """Chooses one answer's tokens, one after another; each answer draws from its own seed.

    Args:
        matcher: what the answer must match, or None. ends: tokens that end an answer.
    """

    def __init__(
        self, sampling: Sampling, vocabulary: Vocabulary, matcher: Matcher | None, ends: frozenset[int]
    ) -> None:
        self.sampling, self.vocabulary, self.ends = sampling, vocabulary, ends
        self.matcher = matcher
        temperature = sampling.temperature if sampling.temperature >= LEAST_TEMPERATURE else 0.0
        self._how = DecodingSettings(temperature=temperature, top_p=sampling.top_p)
        self._generator = generator(secrets.randbits(48) if sampling.seed is None else sampling.seed)

    @property
    def plain(self) -> bool:
        """Whether the likeliest token is all that is asked for."""
        return self._how.temperature == 0 and self.matcher is None and self.sampling.top_logprobs is None

    def choose(self, logits: Tensor) -> tuple[int, ScoredToken | None]:
        """Logits (vocabulary,) -> a token, and its log-probability by the model itself: before temperature and grammar."""
        allowed = logits
        if self.matcher is not None:
            allowed = logits.masked_fill(~self.matcher.allowed(len(logits)).to(logits.device), float("-inf"))
        token = int(pick(allowed[None], self._how, [self._generator])[0])
        return token, None if self.sampling.top_logprobs is None or token in self.ends else self._scored(logits, token)

    def take(self, token: int) -> bool:
        """Go on with a token; whether the grammar lets nothing follow."""
        return self.matcher is not None and self.matcher.take(token)

    def _scored(self, logits: Tensor, token: int) -> ScoredToken:
        likelihoods = logits.log_softmax(-1)
        best = likelihoods.topk(min(self.sampling.top_logprobs or 0, len(logits)))
        top = [self._told(i, p) for i, p in zip(best.indices.tolist(), best.values.tolist(), strict=True)]
        return self._told(token, float(likelihoods[token]), tuple(top))

    def _told(self, token: int, likelihood: float, top: tuple[ScoredToken, ...] = ()) -> ScoredToken:
        data = self.vocabulary.data(token)
        return ScoredToken(data.decode("utf-8", "replace"), data, likelihood, top)
