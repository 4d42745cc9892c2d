"""The road of tokens through a `Decoder`, over operations that evaluate (`arrays`) or draw (`sources.decoder`).

Values are [batch, tokens, columns]; heads lie side by side in the columns. Roles are those of `ir.decoder`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from bessemer.ir.decoder import Activation, Decoder, Experts, Latent, Rope

T = TypeVar("T")


class Operations(Protocol[T]):
    """What a stack of transformer layers is made of."""

    def has(self, role: str) -> bool:
        """Whether the model holds weights of the role."""
        ...

    def tokens(self, role: str) -> T:
        """Rows of the table `role` at the token ids."""
        ...

    def places(self, role: str, offset: int) -> T:
        """Rows of the table at the tokens' positions plus `offset`."""
        ...

    def first_row(self, role: str) -> T:
        """Row 0 of the table, for every token."""
        ...

    def linear(self, x: T, role: str) -> T:
        """x W^T + b with W = `role`.weight [results, columns] and b = `role`.bias where there is one."""
        ...

    def normalized(self, x: T, role: str, kind: str, heads: int = 1) -> T:
        """`kind` ('rms' or 'layer') over the columns, or over those of each of the heads; times weight (plus the
        decoder's norm_offset), plus bias, of `role` ([columns of a head], or one for each head)."""
        ...

    def split(self, x: T, sizes: Sequence[int], heads: int = 1) -> list[T]:
        """Columns in parts of these sizes; of each head, with the parts of all heads side by side again."""
        ...

    def halves(self, x: T) -> tuple[T, T]:
        """The first and the second half of the columns."""
        ...

    def joined(self, parts: Sequence[T], heads: int) -> T:
        """The reverse of `split` for parts that have all heads."""
        ...

    def spread(self, x: T, heads: int) -> T:
        """One head for all of them."""
        ...

    def turned(self, x: T, rope: Rope, heads: int) -> T:
        """The first `rope.dims` columns of each head turned by the tokens' positions."""
        ...

    def attended(self, query: T, key: T, value: T, layer: int) -> T:
        """softmax(query key^T scale + masks) value of this layer; keys and values are those of all tokens, or of the new
        ones where the layer's were not `kept`: then they follow those of earlier tokens, and are kept."""
        ...

    def kept(self, key: T, value: T, layer: int) -> tuple[T, T]:
        """What is kept of a token and a layer, that of earlier tokens first."""
        ...

    def mixed(self, x: T, at: str, experts: Experts) -> T:
        """The chosen experts' answers, weighted. Roles: `at`ffn_gate_inp, ffn_gate_exps, ffn_up_exps, ffn_down_exps."""
        ...

    def activated(self, x: T, kind: Activation) -> T:
        """The function of each element."""
        ...

    def plus(self, a: T, b: T) -> T:
        """Sum."""
        ...

    def times(self, a: T, b: T) -> T:
        """Product of elements; one column goes with all."""
        ...

    def scaled(self, x: T, factor: float) -> T:
        """x times a number; 1 leaves it."""
        ...

    def capped(self, x: T, limit: float) -> T:
        """limit tanh(x / limit); 0 leaves it."""
        ...

    def clipped(self, x: T, limit: float) -> T:
        """Between -limit and limit; 0 leaves it."""
        ...


class Wiring(Generic[T]):
    """A decoder's layers over operations."""

    def __init__(self, decoder: Decoder, operations: Operations[T]) -> None:
        self.decoder, self.do = decoder, operations

    def hidden(self) -> T:
        """Tokens to the last states, normalized: [batch, tokens, hidden]."""
        x = self.embedded()
        for place in range(len(self.decoder.layers)):
            x = self.layer(x, place)
        return self._norm(x, "output_norm") if self.decoder.final_norm else x

    def logits(self, hidden: T) -> T:
        """States to [batch, tokens, vocabulary]."""
        own = self.do.linear(hidden, "token_embd" if self.decoder.tied else "output")
        return self.do.capped(self.do.scaled(own, self.decoder.logit_scale), self.decoder.logit_softcap)

    def embedded(self) -> T:
        """Tokens to the first layer's input."""
        held, do = self.decoder, self.do
        x = do.scaled(do.tokens("token_embd"), held.embedding_scale)
        if held.token_types:
            x = do.plus(x, do.first_row("token_types"))
        if held.positions == "learned":
            x = do.plus(x, do.places("position_embd", held.position_offset))
        return self._norm(x, "token_embd_norm") if held.embedding_norm else x

    def layer(self, x: T, place: int) -> T:
        """One block."""
        return self._parallel(x, place) if self.decoder.parallel else self._serial(x, place)

    def _serial(self, x: T, place: int) -> T:
        held, at = self.decoder, f"blk.{place}."
        inside = self._norm(x, f"{at}attn_norm") if held.pre_norm else x
        x = self._added(x, self._attention(inside, place), f"{at}post_attention_norm")
        x = self._norm(x, f"{at}attn_output_norm") if held.after_norm else x
        inside = self._norm(x, f"{at}ffn_norm") if held.pre_norm else x
        x = self._added(x, self._feed_forward(inside, place), f"{at}post_ffw_norm")
        return self._norm(x, f"{at}layer_output_norm") if held.after_norm else x

    def _added(self, x: T, result: T, norm: str) -> T:
        if self.decoder.post_norm:
            result = self._norm(result, norm)
        return self.do.plus(x, self.do.scaled(result, self.decoder.residual_scale))

    def _parallel(self, x: T, place: int) -> T:
        """Falcon 40B names its second norm attn_norm_2, which is the one in front of attention; GPT-NeoX has ffn_norm."""
        at, scale = f"blk.{place}.", self.decoder.residual_scale
        attention = feed = self._norm(x, f"{at}attn_norm")
        if self.decoder.parallel == "two":
            second = self.do.has(f"{at}attn_norm_2.weight")
            other = self._norm(x, f"{at}attn_norm_2" if second else f"{at}ffn_norm")
            attention, feed = (other, feed) if second else (attention, other)
        both = self.do.plus(self._attention(attention, place), self._feed_forward(feed, place))
        return self.do.plus(x, self.do.scaled(both, scale))

    def _norm(self, x: T, role: str) -> T:
        return self.do.normalized(x, role, self.decoder.norm)

    def _attention(self, x: T, place: int) -> T:
        held, at, do = self.decoder, f"blk.{place}.", self.do
        if held.latent is not None:
            query, key, value = self._latent(x, place, held.latent)
        else:
            query, key, value = self._projected(x, at)
            query, key = self._positioned(query, key, place)
        return do.linear(do.attended(query, key, value, place), f"{at}attn_output")

    def _projected(self, x: T, at: str) -> tuple[T, T, T]:
        held, do = self.decoder, self.do
        wide, narrow = held.heads * held.head_dim, held.kv_heads * held.head_dim
        if held.fused_qkv:
            parts = do.split(do.clipped(do.linear(x, f"{at}attn_qkv"), held.clip_qkv), (wide, narrow, narrow))
            return parts[0], parts[1], parts[2]
        query, key, value = (do.clipped(do.linear(x, f"{at}attn_{name}"), held.clip_qkv) for name in "qkv")
        return query, key, value

    def _positioned(self, query: T, key: T, place: int) -> tuple[T, T]:
        held, at, do, rope = self.decoder, f"blk.{place}.", self.do, self.decoder.layers[place].rope
        if held.qk_norm:
            kind, _, whole = held.qk_norm.partition("-")
            heads = (1, 1) if whole == "all" else (held.heads, held.kv_heads)
            query = do.normalized(query, f"{at}attn_q_norm", kind, heads[0])
            key = do.normalized(key, f"{at}attn_k_norm", kind, heads[1])
        if rope is None:
            return query, key
        return do.turned(query, rope, held.heads), do.turned(key, rope, held.kv_heads)

    def _latent(self, x: T, place: int, sizes: Latent) -> tuple[T, T, T]:
        """DeepSeek-V2, section 2.1.3: queries and keys have a part without and one with positions. What is kept is what
        keys and values are made from."""
        at, do, heads, rope = f"blk.{place}.", self.do, self.decoder.heads, self.decoder.layers[place].rope
        query = self._compressed_query(x, at) if sizes.query_rank else do.linear(x, f"{at}attn_q")
        plain, turning = do.split(query, (sizes.nope_dim, sizes.rope_dim), heads)
        packed, shared = do.split(do.linear(x, f"{at}attn_kv_a_mqa"), (sizes.key_rank, sizes.rope_dim))
        packed = do.normalized(packed, f"{at}attn_kv_a_norm", "rms")
        if rope is not None:
            turning, shared = do.turned(turning, rope, heads), do.turned(shared, rope, 1)
        packed, shared = do.kept(packed, shared, place)
        key, value = do.split(do.linear(packed, f"{at}attn_kv_b"), (sizes.nope_dim, sizes.value_dim), heads)
        query = do.joined((plain, turning), heads)
        return query, do.joined((key, do.spread(shared, heads)), heads), value

    def _compressed_query(self, x: T, at: str) -> T:
        packed = self.do.normalized(self.do.linear(x, f"{at}attn_q_a"), f"{at}attn_q_a_norm", "rms")
        return self.do.linear(packed, f"{at}attn_q_b")

    def _feed_forward(self, x: T, place: int) -> T:
        at, experts = f"blk.{place}.", self.decoder.layers[place].experts
        if experts is None:
            return self._dense(x, f"{at}ffn_", "")
        found = self.do.mixed(x, at, experts)
        if not experts.shared:
            return found
        beside = self._dense(x, f"{at}ffn_", "_shexp")
        if experts.shared_gate:
            beside = self.do.times(beside, self.do.activated(self.do.linear(x, f"{at}ffn_gate_inp_shexp"), "sigmoid"))
        return self.do.plus(found, beside)

    def _dense(self, x: T, at: str, end: str) -> T:
        held, do = self.decoder, self.do
        up = do.linear(x, f"{at}up{end}")
        if not held.gated:
            return do.linear(do.activated(up, held.activation), f"{at}down{end}")
        if held.fused_gate and not end:
            gate, up = do.halves(up)
        else:
            gate = do.linear(x, f"{at}gate{end}")
        return do.linear(do.times(do.activated(gate, held.activation), up), f"{at}down{end}")
