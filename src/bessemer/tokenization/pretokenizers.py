r"""llama.cpp's pre-tokenizers of byte-level BPE as data: how each splits a text into words before merging.

Names, regular expressions and flags are those of llama.cpp's `src/llama-vocab.cpp` (`tokenizer.ggml.pre`); the expressions
came from the tokenizer.json files of the models that they are named after. llama.cpp applies the expressions one after
another, each to the pieces that the one before left, and keeps what lies between two matches as a piece of its own.

Here they are spelled for Oniguruma, so that they mean what llama.cpp makes of them: its `std::regex` knows the five main
categories of Unicode alone, hence `\p{Lu}` matches every letter there; its `$` is the end of the piece.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

Split = Callable[[str], list[str]]
Expressions = tuple[str, ...]

_CONTRACTED = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
_REST = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_PHRASE = r"[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+"
_OTHERS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_LLAMA3 = rf"{_CONTRACTED}|{_WORD}|\p{{N}}{{1,3}}|{_OTHERS}|{_REST}"
_QWEN2 = rf"{_CONTRACTED}|{_WORD}|\p{{N}}|{_OTHERS}|{_REST}"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_ASCII_MARKS = r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"
_DEEPSEEK3 = rf"{_ASCII_MARKS}[A-Za-z]+|[^\r\n\p{{L}}\p{{P}}\p{{S}}]?[\p{{L}}\p{{M}}]+| ?[\p{{P}}\p{{S}}]+"
_CJK = "[一-龥぀-ゟ゠-ヿ]+"
_THREES = r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))"  # groups of three digits, counted from the right
_UPPER, _LOWER = r"(?:(?=\p{L})[^a-z])", r"(?:(?=\p{L})[^A-Z])"
_CASED = rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+%s|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*%s"
_TAIL = rf" ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_REST}"
_GPT4O = rf"{_CASED % (_CONTRACTED + '?', _CONTRACTED + '?')}|\p{{N}}{{1,3}}|{_TAIL}"
_TEKKEN = rf"{_CASED % ('', '')}|\p{{N}}|{_TAIL}"
_TITLED, _SMALL = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_TRUE_CASED = rf"[^\r\n\p{{L}}\p{{N}}]?{_TITLED}*{_SMALL}+%s|[^\r\n\p{{L}}\p{{N}}]?{_TITLED}+{_SMALL}*%s"
_TRUE_GPT4O = rf"{_TRUE_CASED % (_CONTRACTED + '?', _CONTRACTED + '?')}|\p{{N}}{{1,3}}|{_TAIL}"
_TRUE_TEKKEN = rf"{_TRUE_CASED % ('', '')}|\p{{N}}|{_TAIL}"
_LETTER_OR_MARK = r"[\p{L}\p{M}]"
_AYA = rf"[^\r\n\p{{L}}\p{{N}}]?{_LETTER_OR_MARK}+{_CONTRACTED}?|\p{{N}}{{1,3}}|{_TAIL}"
_CASED_MARKED = _CASED.replace(r"(?=\p{L})", rf"(?={_LETTER_OR_MARK})")
_GRANITE = rf"{_CASED_MARKED % (_CONTRACTED + '?', _CONTRACTED + '?')}|\p{{N}}{{1,3}}|{_TAIL}"
_JAIS2_SPACES = "|".join(rf"\s{{{n}}}(?!\S)" for n in (512, 256, 128, 64, 32, 16, 8, 4)) + r"|\s{1,2}(?!\S)|\s{1}"
_BLOOM = r" ?[^(\s|.,!?…。，、।۔،)]+"
_DEEPSEEK_LETTERS = (  # every cased letter of Unicode
    r"\s?[A-Za-z"
    "\u00B5\u00C0-\u00D6\u00D8-\u00F6\u00F8-\u01BA\u01BC-\u01BF\u01C4-\u0293\u0295-\u02AF\u0370-\u0373\u0376\u0377"
    "\u037B-\u037D\u037F\u0386\u0388-\u038A\u038C\u038E-\u03A1\u03A3-\u03F5\u03F7-\u0481\u048A-\u052F\u0531-\u0556"
    "\u10A0-\u10C5\u13A0-\u13F5\u13F8-\u13FD\u1C90-\u1CBA\u1CBD-\u1CBF\u1D00-\u1D2B\u1D6B-\u1D77\u1D79-\u1D9A"
    "\u1E00-\u1F15\u1F18-\u1F1D\u1F20-\u1F45\u1F48-\u1F4D\u1F50-\u1F57\u1F59\u1F5B\u1F5D\u1F5F-\u1F7D\u1F80-\u1FB4"
    "\u1FB6-\u1FBC\u1FBE\u1FC2-\u1FC4\u1FC6-\u1FCC\u1FD0-\u1FD3\u1FD6-\u1FDB\u1FE0-\u1FEC\u1FF2-\u1FF4\u1FF6-\u1FFC"
    "\u2102\u2107\u210A-\u2113\u2115\u2119-\u211D\u2124\u2126\u2128\u212A-\u212D\u212F-\u2134\u2139\u213C-\u213F"
    "\u2145-\u2149\u214E\u2183\u2184\u2C00-\u2C7B\u2C7E-\u2CE4\u2CEB-\u2CEE\u2CF2\u2CF3\uA640-\uA66D\uA680-\uA69B"
    "\uA722-\uA76F\uA771-\uA787\uA78B-\uA78E\uAB70-\uABBF\uFB00-\uFB06\uFB13-\uFB17\uFF21-\uFF3A\uFF41-\uFF5A"
    "\U00010400-\U0001044F\U000104B0-\U000104D3\U000104D8-\U000104FB\U00010C80-\U00010CB2\U00010CC0-\U00010CF2"
    "\U000118A0-\U000118DF\U0001E900-\U0001E943"
    "]+"
)
_DEEPSEEK_MARKS, _DEEPSEEK_CJK = "[!-/:-~！-／：-～‘-‟　-。]", "[一-龥ࠀ-一가-퟿]"
_NO_SPACE = r"(?:(?!\s)%s)+"  # where no category is named, llama.cpp shows its expression no space beyond ASCII
_AFMOE_SCRIPTS = "[一-鿿㐀-䶿豈-﫿぀-ゟ゠-ヿ･-ﾟ⼀-⿟เ-๿຀-໿ក-៿က-႟ꩠ-ꩿꧠ-꧿가-힯ᄀ-ᇿ]+"
_YOUTU_SCRIPTS = "[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+"


@dataclass(frozen=True)
class Pre:
    """One behaviour. names: llama.cpp's names of it; the first is written.

    expressions: see above; ignore_merges: a word that is a token is taken as it is; add_bos: whether llama.cpp puts the
    first token ahead when the file does not say; clean: llama.cpp joins spaces and punctuation when it spells tokens out;
    byte_level: words are spelled in GPT-2's letters for bytes, otherwise as they are with '<0x0A>' for what is no token;
    stands_for: the expressions of the models that it is used for, where llama.cpp's departs from them.
    """

    names: tuple[str, ...]
    expressions: Expressions
    ignore_merges: bool = False
    add_bos: bool = False
    clean: bool = True
    byte_level: bool = True
    stands_for: tuple[Expressions, ...] = ()


KNOWN = (
    Pre(
        ("gpt-2", "mpt", "olmo", "jais", "phi-2", "jina-es", "jina-de", "jina-v2-es", "jina-v2-de", "gigachat", "a.x-4.0",
         "mellum", "modern-bert", "exaone4"),
        (_GPT2,),
    ),
    Pre(("roberta-bpe", "jina-v1-en", "jina-v2-code"), (_GPT2,)),
    Pre(("trillion", "granite-docling"), (_GPT2,), clean=False),
    Pre(
        ("llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"),
        (_LLAMA3,), ignore_merges=True, add_bos=True,
    ),
    Pre(("dbrx", "smaug-bpe", "chatglm-bpe"), (_LLAMA3,)),
    Pre(("glm4", "glm5"), (_LLAMA3,), ignore_merges=True),
    Pre(
        ("qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "hunyuan", "solar-open", "grok-2"), (_QWEN2,), clean=False,
    ),
    Pre(("stablelm2", "megrez"), (_QWEN2,)),
    Pre(
        ("qwen35",),
        (rf"{_CONTRACTED}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_REST}",),
        clean=False,
    ),
    Pre(("default",), (r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]")),
    Pre(("starcoder", "refact", "codeshell", "exaone", "minerva-7b", "mellum2"), (r"\p{N}", _GPT2)),
    Pre(("smollm", "command-r"), (r"\p{N}", _GPT2), clean=False),
    Pre(("falcon",), (r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, "[0-9][0-9][0-9]")),
    Pre(
        ("deepseek-llm",),
        ("[\r\n]", _DEEPSEEK_LETTERS, rf"\s?{_NO_SPACE % _DEEPSEEK_MARKS}", r"\s+\z", _NO_SPACE % _DEEPSEEK_CJK, r"\p{N}+"),
        clean=False,
        stands_for=(
            ("[\r\n]", _DEEPSEEK_LETTERS, rf"\s?{_DEEPSEEK_MARKS}+", r"\s+$", f"{_DEEPSEEK_CJK}+", r"\p{N}"),
        ),
    ),
    Pre(
        ("deepseek-coder",), ("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _NO_SPACE % _DEEPSEEK_CJK, r"\p{N}"), clean=False,
        stands_for=(("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", f"{_DEEPSEEK_CJK}+", r"\p{N}"),),
    ),
    Pre(
        ("deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"),
        (r"\p{N}{1,3}", _CJK, rf"{_DEEPSEEK3}[\r\n]*|{_REST}"), clean=False,
    ),
    Pre(
        ("spark2_5",), (r"\p{N}{1,3}", _CJK, rf"{_DEEPSEEK3}|[\r\n]|\s+(?!\S)|\s+", r"\p{N}"), clean=False,
    ),
    Pre(("afmoe",), (_THREES, _AFMOE_SCRIPTS, rf"{_DEEPSEEK3}[\r\n]*|{_REST}"), clean=False),
    Pre(
        ("youtu",),
        (_YOUTU_SCRIPTS, rf"[^\r\n\p{{L}}\p{{N}}]?{_LETTER_OR_MARK}+{_CONTRACTED}?|\p{{N}}|{_TAIL}"),
        ignore_merges=True, clean=False,
    ),
    Pre(("bloom", "gpt3-finnish"), (_BLOOM,)),
    Pre(("poro-chat",), (_BLOOM,), clean=False),
    Pre(("viking",), (_BLOOM, r"\p{N}"), clean=False),
    Pre(("tekken",), (_TEKKEN,), ignore_merges=True, add_bos=True, clean=False, stands_for=((_TRUE_TEKKEN,),)),
    Pre(
        ("gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"), (_GPT4O,), clean=False, stands_for=((_TRUE_GPT4O,),),
    ),
    Pre(("granite-embed-multi-97m",), (_GRANITE,), ignore_merges=True, clean=False, stands_for=((_TRUE_GPT4O,),)),
    Pre(("tiny_aya", "cohere2moe"), (_THREES, _AYA), clean=False, stands_for=((r"\d{1,3}(?=(?:\d{3})*\b)", _TRUE_GPT4O),)),
    Pre(
        ("superbpe",), (r"\p{N}+", "(?=([0-9]{3})+(?![0-9]))"), clean=False,
        stands_for=((r"\p{N}+", r"(?=(\d{3})+(?!\d))"),),
    ),
    Pre(
        ("bailingmoe", "bailingmoe2", "llada-moe"),
        (rf"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|{_WORD}|\p{{N}}|{_OTHERS}|\s*[\r\n]|\s+(?!\S)|\s+",), clean=False,
    ),
    Pre(
        ("seed-coder",), (rf"{_CONTRACTED}|{_WORD}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{_REST}",), clean=False,
    ),
    Pre(("ufakzeka",), (rf"{_WORD}|\p{{N}}|{_OTHERS}|{_REST}",), clean=False),
    Pre(("laguna",), (r"[^\n]+|[\n]+", _QWEN2), clean=False),
    Pre(
        ("exaone-moe",),
        (rf"{_CONTRACTED}|{_PHRASE}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+",),
    ),
    Pre(
        ("minicpm5",), (r"\p{N}{1,3}", rf"{_CONTRACTED}|{_WORD}|\p{{N}}+|{_OTHERS}|{_REST}"), ignore_merges=True,
    ),
    Pre(("jais-2",), (rf"{_CONTRACTED}|{_WORD}|\p{{N}}{{1,3}}|{_OTHERS}|\s*[\r\n]+|{_JAIS2_SPACES}",)),
    Pre(
        ("chameleon",),
        ("<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", r"([\t\n]|    |  )", r"\p{N}",
         r"[\p{P}!-/:-@\[-`{-~]", _GPT2),
        add_bos=True, clean=False,
    ),
    Pre(("sarvam-moe",), (r"[^\n]+|[\n]+",), clean=False, byte_level=False),
    Pre(("gemma4", "granite-embed-multi-311m"), (r"[^\n]+|[\n]+",), add_bos=True, byte_level=False),
)

BY_NAME: Mapping[str, Pre] = {name: pre for pre in KNOWN for name in pre.names}


def splitter(expressions: Expressions) -> Split:
    """text -> words, by Oniguruma (the `tokenizers` library)."""
    from tokenizers import Regex, pre_tokenizers

    steps = [pre_tokenizers.Split(Regex(expression), "isolated") for expression in expressions]
    chain = pre_tokenizers.Sequence(steps)
    return lambda text: [word for word, _ in chain.pre_tokenize_str(text)]
