"""One new token a row against everything its row holds: the attention function that the engine gives `transformers`.

What a row holds lies in its slot, or in two places: a prefix that exists once for all rows that begin with it, and the
row's own slot. The softmax over both is exact: each is attended to by itself, and the two results are weighted by the
mass of their scores, as flash attention does with its blocks (Dao et al. 2022).
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from steer.engine.cache import Part

NAME = "steer"


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    slots: Any,
    scaling: float | None = None,
    softcap: float | None = None,
    sliding_window: int | None = None,
    **unused: Any,
) -> tuple[Tensor, None]:
    """query (R, Hq, 1, D), key and value (R, H, 1, D) of the newest tokens -> (R, 1, Hq, D).

    The query heads that share a key head stand as so many queries of one row, so that no key is ever repeated.
    """
    rows, heads, _, width = query.shape
    query = query.reshape(rows, key.shape[1], heads // key.shape[1], width)
    scale = width**-0.5 if scaling is None else scaling
    done = []
    for part in slots.parts:
        mine = query[part.rows]
        keys, values = (store[module.layer_idx][part.rows, :, : part.used] for store in (slots.keys, slots.values))
        mask = part.mask(sliding_window, query.dtype)
        if part.prefixes:
            own = partial(mine, keys, values, mask, scale, softcap)
            done.append(joined(own, _prefixes(mine, part, module.layer_idx, scale, softcap)))
        elif softcap is None:
            done.append(scaled_dot_product_attention(mine, keys, values, attn_mask=mask, scale=scale))
        else:
            done.append(partial(mine, keys, values, mask, scale, softcap)[0])
    out = done[0] if len(done) == 1 else torch.cat(done)
    return out.reshape(rows, 1, heads, -1), None


AttentionInterface.register(NAME, attend)


def partial(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float, softcap: float | None = None
) -> tuple[Tensor, Tensor]:
    """Attention over some of the keys: the result (N, H, Q, D), and the log of its scores' mass (N, H, Q) float32."""
    if query.device.type == "cpu" and softcap is None:
        found: tuple[Tensor, Tensor] = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, attn_mask=mask, scale=scale
        )
        return found
    scores = (query @ key.mT).float() * scale
    if softcap is not None:
        scores = (scores / softcap).tanh() * softcap
    if mask is not None:
        scores = scores + mask
    mass = scores.logsumexp(-1)
    return (scores - mass[..., None]).exp().to(value.dtype) @ value, mass


def joined(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
    """Two partial attentions under one softmax: each weighs what its mass is of both."""
    share = (second[1] - first[1]).sigmoid()[..., None]
    return torch.lerp(first[0], second[0], share.to(first[0].dtype))


def _prefixes(query: Tensor, part: Part, layer: int, scale: float, softcap: float | None) -> tuple[Tensor, Tensor]:
    """Every row's attention to its shared prefix: one product for all rows that have the same."""
    rows, heads, queries, _ = query.shape
    out = query.new_zeros(rows, heads, queries, part.prefixes[0][0].values[layer].shape[-1])
    mass = torch.full((rows, heads, queries), -torch.inf, device=query.device)
    for prefix, mine in part.prefixes:
        together = query[mine].transpose(0, 1).flatten(1, 2)[None]  # (1, H, n * Q, D)
        keys, values = prefix.keys[layer][None], prefix.values[layer][None]
        found, weight = partial(together, keys, values, None, scale, softcap)
        out[mine] = found[0].unflatten(1, (-1, queries)).transpose(0, 1)
        mass[mine] = weight[0].unflatten(1, (-1, queries)).transpose(0, 1).float()
    return out, mass
