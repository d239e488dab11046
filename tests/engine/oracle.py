"""The slow obvious way: a full pass in float64 for every stream, no cache, no batch, the adapter set by PEFT itself."""

import copy

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer

from steer.guidance import Stream


class Oracle:
    """Log-probabilities of a text under any stream of an adapted model."""

    def __init__(self, adapted: PeftModel) -> None:
        self.adapted = copy.deepcopy(adapted).double()

    def logits(self, stream: Stream, ids: list[int]) -> torch.Tensor:
        """(T,) ids -> (T, V) float64 logits."""
        inputs = torch.tensor([ids])
        with torch.no_grad():
            if stream.strength == 0:
                with self.adapted.disable_adapter():
                    return self.adapted(inputs).logits[0]
            for module in self.adapted.modules():
                if isinstance(module, LoraLayer):
                    module.set_scale(self.adapted.active_adapter, stream.strength)
            return self.adapted(inputs).logits[0]

    def logprobs(self, stream: Stream, shown: list[int], text: list[int]) -> torch.Tensor:
        """What is shown, then the text -> (T, V) log-probabilities of each of the text's tokens."""
        if stream.context.kind == "tail":
            windows = [(shown + text[:t])[-stream.context.size :] for t in range(len(text))]
            return torch.stack([self.logits(stream, window)[-1] for window in windows]).log_softmax(-1)
        return self.logits(stream, shown + text)[len(shown) - 1 : -1].log_softmax(-1)

    def combined(self, guidance, shown: dict[str, list[int]], text: list[int]) -> torch.Tensor:
        """(T, V) log-probabilities of the normalised sum of log-probabilities."""
        total = sum(w * self.logprobs(s, shown[str(s)], text) for s, w in guidance.weights.items())
        return total.log_softmax(-1)
