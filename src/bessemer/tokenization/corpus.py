"""Hard strings for tokenizers, and where two tokenizers part."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

Encode = Callable[[str], list[int]]

_SPACES = (
    "", " ", "  ", "   ", "\n", "\n\n", "\n\n\n", "\t", "\t\t", "\r\n", "\r", " \n ", "\t\n", "\n \t \n", " a", "  a",
    "a ", "a  ", "   leading", "trailing   ", "in  the   middle    of", "tab\tand\ttab", "line\nline\r\nline\rline",
    "\n\n  x\n\n\n", "no\u00a0break", "thin\u2009space\u2003wide", "ideographic\u3000space",
    "\u2028line\u2029separators", "\u0085next", "zero\u200bwidth\u200djoined\u200c", "\ufeffmark",
    "▁ underlined ▁▁ block",
)
_NUMBERS = (
    "0", "7", "42", "123", "1234", "12345", "123456", "1234567", "12345678 123456789", "3.14159", "1,000,000",
    "-1e-10", "0x1F", "2024-01-31T23:59:59Z", "١٢٣٤٥", "१२३", "Ⅷ ⅔ ² ₃", "x1y22z333", "1st 22nd 333rd",
)  # fmt: skip
_WORDS = (
    "Hello", " Hello", "hello world", "Hello, World!", "The quick brown fox jumps over the lazy dog.",
    "I'm you're he's we've they'll I'd don't", "I'M YOU'RE HE'S WE'VE THEY'LL I'D DON'T", "'s 'S 'T't 're'RE 'll'LL",
    "it’s ‘quoted’ “double” — dash – en … dots", "camelCaseWords HTTPServer XMLHttpRequest iPhone",
    "snake_case_name kebab-case", "ALLCAPS lower MiXeD", "supercalifragilisticexpialidocious", "o'clock rock'n'roll",
    "Mr. Smith, Ph.D., e.g., i.e.", "!!!???...,,,;;;", "(a)[b]{c}<d>", "a/b\\c|d",
    "#hash @at $dollar %percent ^caret &and *star", "``` ''' \"\"\"", "-----=====_____", "1+1=2; 3*4>5 && !x",
    "a.b.c..d...e", "~tilde~ `tick`",
)  # fmt: skip
_SCRIPTS = (
    "äöüß ÄÖÜ éèêë ñ ç œ æ ø å", "ÉCOLE École école", "Übergrößenträger", "Zażółć gęślą jaźń", "İstanbul ıslak",
    "Đà Nẵng", "нещо на Български", "Привет, мир! ПриветМир", "Γειά σου Κόσμε", "ΑΒΓαβγ", "שלום עולם", "שָׁלוֹם",
    "مرحبا بالعالم", "السَّلامُ عَلَيْكُم", "نمونه\u200cای", "नमस्ते दुनिया", "हिन्दी में क्षत्रिय", "বাংলা ভাষা",
    "தமிழ் மொழி", "สวัสดีชาวโลก", "ភាសាខ្មែរ កាន់តែពិសេស", "မြန်မာ", "你好,世界", "我想在apple工作1314151天～",
    "日本語のテキスト、カタカナ。ひらがな", "한국어 텍스트 입니다", "繁體中文測試!", "𠀀𠮷野家",
    "ｆｕｌｌｗｉｄｔｈ　１２３！", "ქართული ენა", "Հայերեն", "አማርኛ", "ᏣᎳᎩ", "mixed русский中文عربي text",
    "ﬁ ligature ﬀ", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟙𝟚𝟛", "ǅ titlecase ǆ", "ªº ordinals",
)  # fmt: skip
_MARKS = (
    "e\u0301cole a\u0300 n\u0303", "é\u0323\u0302", "A\u030angstro\u0308m", "Å ångström Å", "\u0301lone mark",
    "x\u0336y\u0336z", "ộ o\u0302\u0323", "가 \u1100\u1161", "क\u094dष", "\u0e01\u0e33",
)  # fmt: skip
_EMOJI = (
    "😀", "😀😀😀", "👍🏽👍🏿", "👨\u200d👩\u200d👧\u200d👦 family", "🏳\ufe0f\u200d🌈", "🇩🇪🇫🇷", "❤\ufe0f ☺ ☎\ufe0f",
    "🚀 (normal) 😶\u200d🌫\ufe0f (multiple emojis concatenated) ✅", "1\ufe0f⃣#\ufe0f⃣", "♥♦♣♠ →←↑↓ ∑∫√∞ ≤≥≠ €£¥₿",
)  # fmt: skip
_CONTROLS = (
    "\x00", "a\x00b", "\x01\x02\x1b[0m", "\x7f\x80\x9f", "bell\x07back\x08", "\x1c\x1d\x1e\x1f", "�replacement�",
    "\ue000private", "\U000e0041tag", "\U0010ffff end", "\u0378unassigned", "soft\u00adhyphen",
    "\u202eright to left\u202c",
)  # fmt: skip
_CODE = (
    "def f(x):\n    return x  # twice\n\n\nif __name__ == '__main__':\n\tf(1)\n",
    "for (int i = 0; i < 10; ++i) {\n\t\ta[i] += 0x1F;\n}", "<html>\n  <body class=\"a b\">&nbsp;</body>\n</html>",
    "SELECT * FROM t WHERE a='b''c';", "{\"key\": [1, 2.5, null], \"ü\": \"\\u00fc\"}",
    "https://example.org/path/?q=a%20b&c=d#frag", "user.name+tag@example.co.uk",
    "C:\\Users\\name\\file.txt /usr/local/bin", "$x^2 + \\frac{1}{2}$",
    "# Title\n\n- item\n- item\n\n```py\nx = 1\n```\n", "a\n\n\n\nb\n    c\n        d\n",
)  # fmt: skip
_SPECIAL = (
    "<s>", "</s>", "<unk>", "<pad>", "<s>text</s>", "text</s>", "<s> text </s> more", "[CLS] text [SEP]",
    "[MASK] [PAD] [UNK]", "<|endoftext|>", "a<|endoftext|>b", "<|im_start|>user\nHi<|im_end|>\n",
    "<|begin_of_text|>x<|eot_id|>", "<start_of_turn>user", "[INST] Hi [/INST]", "<0x0A>", "<|", "|>", "<s", "s>",
    "<|im_start|", "[PAD5]", "<extra_id_0>", "<mask>",
)  # fmt: skip
_RUNS = (
    "a" * 300, " " * 64, "\n" * 40, "ab" * 150, "=" * 100, "1" * 50, "😀" * 30, "a b " * 60, "字" * 100, "\t" * 20, "é" * 80,
    "word " + " " * 17 + "word", "x" + "\n " * 20 + "y",
)  # fmt: skip
_PROBE = (
    "\n \n\n \n\n\n \t \t\t \t\n  \n   \n    \n     \n🚀 3 33 333 3333 33333 333333 3333333 33333333 3.3 3..3",
    "3...3 កាន់តែ😁 ?",
    "我想在apple工作 ------======= нещо ''''''```````\"\"\"\"......!!!!!!?????? I've been 'told he's there, 'RE you sure?",
)


def corpus() -> tuple[str, ...]:
    """Strings on which tokenizers like to differ; the empty one, special tokens' spellings and long runs among them."""
    groups = (_SPACES, _NUMBERS, _WORDS, _SCRIPTS, _MARKS, _EMOJI, _CONTROLS, _CODE, _SPECIAL, _RUNS, _PROBE)
    return tuple(text for group in groups for text in group)


@dataclass(frozen=True)
class Difference:
    """A text that two encoders do not agree on."""

    text: str
    first: tuple[int, ...]
    second: tuple[int, ...]

    def __str__(self) -> str:
        shown = repr(self.text if len(self.text) <= 60 else self.text[:57] + "...")
        at = next((i for i, (a, b) in enumerate(zip(self.first, self.second, strict=False)) if a != b), None)
        at = min(len(self.first), len(self.second)) if at is None else at
        return f"{shown}: token {at} is {_shown(self.first, at)} against {_shown(self.second, at)}"


def _shown(ids: tuple[int, ...], at: int) -> str:
    return str(ids[at]) if at < len(ids) else "missing"


def differences(first: Encode, second: Encode, texts: Iterable[str]) -> list[Difference]:
    """The texts whose ids differ."""
    pairs = ((text, tuple(first(text)), tuple(second(text))) for text in texts)
    return [Difference(text, a, b) for text, a, b in pairs if a != b]
