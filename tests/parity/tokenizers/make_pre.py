#!/usr/bin/env python3
"""Makes pre/, vectors of the patterns that GGUF files name, with Hugging Face's tokenizers as the truth (written with
tokenizers 0.23 and gguf 0.19.0):

  python -m venv VENV && VENV/bin/pip install tokenizers gguf
  VENV/bin/python tests/parity/tokenizers/make_pre.py

One vocabulary, vocab.gguf, is learnt of the texts below as wholes, so that something merges across every place where a
pattern cuts; words of WHOLE are tokens that nothing merges into. cases.json has, for the names of each pattern, the ids
by the normalizer and pre-tokenizer of those models' tokenizer.json."""
import json
import os

import gguf
from tokenizers import Regex, Tokenizer, models, normalizers as N, pre_tokenizers as P, trainers as T

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pre")
TEXTS = [
    "Hello world! Hello  World's end, I'LL say; we'Ve they're don't 'tis rock'n'roll",
    "1 22 333 4444 55555 1234567 3.14 2,718 1e-9 0xFF v2.0 x86_64 12ab34",
    "\n\nline one\r\n  line two\n \n\ttabs\t\t and   spaces   \n   ",
    "def f(x):\n    return x**2 + [i for i in range(10)][::-1]  # ok?!\n\n\n",
    "Größe café naïve Ångström e\u0301te\u0301 a\u030a ÉTÉ ﬁ ǅ ß",
    "Привет, мир! Как дела? НЕТ'с 25-й",
    "你好，世界！我想在apple工作1314151天～ 東京タワー、カタカナー ひらがな。",
    "안녕하세요 세계 2024년 5월",
    "😀👍🏽 🇩🇪 ✅❌ \u200d\ufe0f → ∑ ≠ € £5 50% ½ ² ①",
    "नमस्ते दुनिया १२३ สวัสดีชาวโลก ភាសាខ្មែរ",
    "مرحبا بالعالم ١٢٣٤، كيف؟ שלום 'ש",
    "http://example.com/a//b?c=d&e=f#g user@host.org C:\\path\\file.txt",
    "HelloWorld camelCase XMLHttpRequest iPhone's McDonald'S ABCdefGHI",
    "------======= ''''''```````\"\"\"\"......!!!!!!?????? $$$ +++ <<>> ^^ ~~ ||",
    "a.b.c (d) [e] {f} <g>h/i\\j_k-l:m;n 'o' \"p\"",
    " leading, trailing \u00a0\u3000\u2003wide\u2028sep ",
    "’tis “quoted” ‘text’ — dashes – and… «guillemets» ¿qué? ¡sí!",
    "x = 1/2; y\t= 3//4 ; z=5  /  6\r\rend",
]
WHOLE = ["Whole", " Whole", " \n\n", "9876", "'re", "東西南北", "WholeWord"]
MORE = ["Whole Whole WholeWord 9876 98765 they're 東西南北", "a Whole \n\nWhole's"]
TEXTS += MORE

LETTERS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
OPEN = r"[^\r\n\p{L}\p{N}]?"
SLASH = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
NOT_HAN = r"&&[^\p{Han}]]"
CASED = ("A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373"
         "\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f"
         "\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77"
         "\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-"
         "\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec"
         "\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-"
         "\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3"
         "\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17"
         "\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-"
         "\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943")
WIDE = "[一-龥ࠀ-一가-퟿]+"
DEEPSEEK3 = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"
             r"\s*[\r\n]+|\s+(?!\S)|\s+")
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"


def splits(*patterns, digits=None):
    """Splits, digits where the model has them behind those, bytes."""
    steps = [P.Split(Regex(p), "isolated") for p in patterns]
    if digits is not None:
        steps.append(P.Digits(individual_digits=digits))
    return P.Sequence(steps + [P.ByteLevel(add_prefix_space=False, use_regex=False)])


def gpt2(*before):
    return P.Sequence([*before, P.ByteLevel(add_prefix_space=False)])


def falcon():
    """Its own file has the digits behind the bytes, which parts bytes that look like \u00b2, too: nothing in its
    vocabulary merges there, since it was learnt so. This one was not."""
    words = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    return P.Sequence([P.Punctuation("contiguous"), P.Split(Regex(words), "isolated"), P.Digits(individual_digits=False),
                       splits("[0-9][0-9][0-9]")])


# names, pre-tokenizer, normalizer, ignore_merges
KINDS = [
    ("llama-bpe llama3 llama-v3 falcon3 pixtral falcon-h1 midm-2.0 lfm2 jina-v5-nano cl100k", splits(LETTERS + r"\p{N}{1,3}" + REST),
     None, True),
    ("smaug-bpe smollm3 dbrx chatglm-bpe glm4", splits(LETTERS + r"\p{N}{1,3}" + REST), None, False),
    ("qwen2 deepseek-r1-qwen", splits(LETTERS + r"\p{N}" + REST), N.NFC(), False),
    ("stablelm2 hunyuan megrez kormo grok-2", splits(LETTERS + r"\p{N}" + REST), None, False),
    ("qwen35", splits(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|"
                      r"\s*[\r\n]+|\s+(?!\S)|\s+"), N.NFC(), False),
    ("tekken", splits(OPEN + UPPER + "*" + LOWER + "+|" + OPEN + UPPER + "+" + LOWER + r"*|\p{N}" + SLASH), None, True),
    ("gpt-4o llama4 kanana2 talkie minimax-m2", splits(OPEN + UPPER + "*" + LOWER + "+" + SHORT + "|" + OPEN + UPPER + "+" + LOWER +
                                                "*" + SHORT + r"|\p{N}{1,3}" + SLASH), None, False),
    ("o200k", splits(OPEN + UPPER + "*" + LOWER + "+" + SHORT + "|" + OPEN + UPPER + "+" + LOWER + "*" + SHORT +
                     r"|\p{N}{1,3}" + SLASH), None, True),
    ("smollm starcoder refact codeshell exaone minerva-7b", gpt2(P.Digits(individual_digits=True)), None, False),
    ("command-r", gpt2(P.Digits(individual_digits=True)), N.NFC(), False),
    ("gpt-2 phi-2 jais trillion jina-es jina-de jina-v2-es jina-v2-de gigachat a.x-4.0 mellum exaone4 granite-docling "
     "roberta-bpe jina-v1-en jina-v2-code", gpt2(), None, False),
    ("mpt olmo", gpt2(), N.NFC(), False),
    ("falcon", falcon(), None, False),
    ("deepseek-llm", splits("[\r\n]", r"\s?[" + CASED + "]+", r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", WIDE, digits=True),
     None, False),
    ("deepseek-coder", splits("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", WIDE, digits=True), None, False),
    ("deepseek-v3 hunyuan-dense", splits(r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK3), None, False),
    ("kimi-k2", splits(r"[\p{Han}]+|" + OPEN + UPPER[:-1] + NOT_HAN + "*" + LOWER[:-1] + NOT_HAN + "+" + SHORT + "|" + OPEN +
                       UPPER[:-1] + NOT_HAN + "+" + LOWER[:-1] + NOT_HAN + "*" + SHORT + r"|\p{N}{1,3}" + REST), None, False),
    ("bailingmoe bailingmoe2 llada-moe", splits(r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|"
                                                r"\s*[\r\n]|\s+(?!\S)|\s+"), None, False),
    ("seed-coder", splits(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}" + "\r\n]+|" +
                          r"\s*[\r\n]+|\s+(?!\S)|\s+"), None, False),
    ("bloom poro-chat gpt3-finnish", splits(BLOOM), None, False),
    ("viking", splits(BLOOM, digits=True), None, False),
    ("superbpe", splits(r"\p{N}+", r"(?=(\d{3})+(?!\d))"), None, False),
    ("default", splits(r"[\p{P}\$\+<=>\^~\|]+", r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)",
                       r"\p{N}+", "[0-9][0-9][0-9]"), None, False),
]


def learn():
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = P.ByteLevel(add_prefix_space=False, use_regex=False)
    learnt = TEXTS + [N.NFC().normalize_str(x) for x in TEXTS]
    t.train_from_iterator(learnt, T.BpeTrainer(vocab_size=2400, min_frequency=0, show_progress=False,
                                               initial_alphabet=P.ByteLevel.alphabet()))
    model = json.loads(t.to_str())["model"]
    vocab, merges = model["vocab"], [tuple(m) for m in model["merges"]]
    whole = ["".join(p for p, _ in P.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(w)) for w in WHOLE]
    merges = [m for m in merges if "".join(m) not in whole and m[0] not in whole and m[1] not in whole]
    kept = {c for m in merges for c in (*m, "".join(m))} | set(P.ByteLevel.alphabet()) | set(whole)
    tokens = sorted(kept, key=lambda k: (vocab.get(k, len(vocab)), k))
    return {k: i for i, k in enumerate(tokens)}, merges


def main():
    vocab, merges = learn()
    os.makedirs(HERE, exist_ok=True)
    w = gguf.GGUFWriter(os.path.join(HERE, "vocab.gguf"), "llama")
    w.add_tokenizer_model("gpt2")
    w.add_token_list(list(vocab))
    w.add_token_merges([" ".join(m) for m in merges])
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.close()
    groups = []
    for names, pre, normalizer, ignore in KINDS:
        t = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=ignore))
        t.pre_tokenizer = pre
        if normalizer:
            t.normalizer = normalizer
        groups.append((names.split(), [{"text": x, "ids": t.encode(x).ids} for x in TEXTS]))
    with open(os.path.join(HERE, "cases.json"), "w", encoding="utf-8") as f:
        f.write("[\n" + ",\n".join('{"pre": %s, "cases": [\n%s\n]}' % (
            json.dumps(names), ",\n".join(json.dumps(c, ensure_ascii=False) for c in cases)) for names, cases in groups) + "\n]\n")
    print(len(vocab), "tokens,", sum(len(n) for n, _ in groups), "names,", len(groups), "patterns")
    for i, (a, cases) in enumerate(groups):
        same = [b[0] for b, others in groups[:i] if others == cases]
        if same:
            print(a[0], "has the ids of", same)


main()
