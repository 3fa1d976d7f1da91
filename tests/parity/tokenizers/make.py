#!/usr/bin/env python3
"""Makes the vocabularies and cases in this folder, with Hugging Face's tokenizers and sentencepiece as the
truth (written with tokenizers 0.22 and sentencepiece 0.2):

  python -m venv VENV && VENV/bin/pip install tokenizers sentencepiece mistral-common
  VENV/bin/python tests/parity/tokenizers/make.py [NAME ...]

NAME: a folder, to make only that one. Each folder gets a tokenizer.json or tokenizer.model of a few hundred tokens, trained on the lines below, and
cases.json: texts and what the other implementation makes of them. `conformance tokenizers` runs them."""
import json
import os
import random
import sys
import tempfile

import sentencepiece as spm
from tokenizers import (AddedToken, Regex, Tokenizer, decoders as D, models, normalizers as N,
                        pre_tokenizers as P, processors as X, trainers as T)

ONLY = sys.argv[1:]
HERE = os.path.dirname(os.path.abspath(__file__))
LINES = ["The little boat went down the river and did not come back until the evening.",
         "We don't know whose boat it is; they're all alike, aren't they?",
         "Numbers: 1 22 333 4444 55555, dates like 2024-05-17, sums of 3.14 and 2,718.",
         "Größe, café, naïve, Ångström: words with marks. ÉTÉ, été.",
         "Привет, мир! Γειά σου Κόσμε. 你好世界 こんにちは 東京",
         "a-b_c (d) [e] {f} \"g\" 'h' i/j k+l m=n <o> p&q r|s t~u", "Hello World, hello world, HELLO WORLD"] * 4
PARTS = [" ", "  ", "\n", "\t", "\r\n", "\u00a0", "\u3000", "\u2028", "\u2581", "\x07", "\ufeff", "\u200d", "'s",
         " the ", " don't ", "boat", "Hello World", "<a>", "<l>", "<r>", "<n>", "word", "words", "[M]", "12", "345",
         "e\u0301", "\u0301", "ﬁ", "①", "½", "Ａ", "İ", "ß", "ſ", "Σ", "中", "東京", "\U0001f600", "\U0001f1e9\U0001f1ea",
         "\U0001f44d\U0001f3fd", "é", "Å", "ñ", "привет", "!", "?", ".", ",", ";", "-", "_", "$", "+", "`", "ab", "Z", "q"]


def texts():
    rng = random.Random(7)
    made = ["".join(rng.choice(PARTS) for _ in range(rng.randrange(1, 14))) for _ in range(26)]
    return ["", " ", "a", "<a><a>", " <l> x <r> y", "word", "a<n>b"] + made + LINES[1:2]


SCRIPTS = ["Hello, мир! Γειά κόσμε 12 שלום", "東京タワーへ。ーひらがなカタカナー", "가나다 abc ไทย٣٤", "  latin \U0001f600 αβγ",
           "नमस्ते दुनिया e\u0301\u0660\ue000x", "a\u30fcb\u3001中文，ab1ー"]
SETS = ["a-b_c, (de) «fg» $+<=>^`|~!", "xyzzy x!y?z Ünïcode ABCdef déjà", "東京、大阪 abc 漢字かな Ab", "1a2b3c ff0Gg \n\nx",
        "0xDEADbeef--^^ab-ba", "Ａ１²٣ ab\n.c #$%", "don't you_all e\u0301\u200d7"]
ADDED = [AddedToken("<a>", special=True), AddedToken("<l>", lstrip=True, normalized=False),
         AddedToken("<r>", rstrip=True, normalized=False), AddedToken("word", single_word=True, normalized=False),
         AddedToken("<n>", normalized=True), AddedToken("[M]", lstrip=True, rstrip=True, special=True)]
BYTES = ["<0x%02X>" % i for i in range(256)]
NAMES = ["<unk>", "<s>", "</s>"]


def model_of(kind, size):
    quiet = dict(vocab_size=size, show_progress=False)
    if kind == "bytes":
        return models.BPE(), T.BpeTrainer(special_tokens=NAMES, initial_alphabet=P.ByteLevel.alphabet(), **quiet)
    if kind == "bpe":
        return models.BPE(unk_token="<unk>"), T.BpeTrainer(special_tokens=NAMES, **quiet)
    if kind == "fused":
        return models.BPE(unk_token="<unk>", fuse_unk=True), T.BpeTrainer(special_tokens=NAMES, **quiet)
    if kind == "fallback":
        quiet["vocab_size"] += 256
        return (models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True),
                T.BpeTrainer(special_tokens=NAMES + BYTES, limit_alphabet=40, **quiet))
    if kind == "affix":
        affix = dict(continuing_subword_prefix="##", end_of_word_suffix="</w>")
        return models.BPE(unk_token="<unk>", **affix), T.BpeTrainer(special_tokens=NAMES, **affix, **quiet)
    if kind == "ends":
        return models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"), T.BpeTrainer(
            special_tokens=NAMES, end_of_word_suffix="</w>", **quiet)
    if kind == "word-level":
        return models.WordLevel(unk_token="<unk>"), T.WordLevelTrainer(special_tokens=NAMES, **quiet)
    if kind == "letters":
        return models.WordLevel(unk_token="<unk>"), T.WordLevelTrainer(special_tokens=["<pad>", "<unk>"], **quiet)
    if kind == "words":
        names = ["[UNK]", "[CLS]", "[SEP]"]
        return (models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=12),
                T.WordPieceTrainer(special_tokens=names, **quiet))
    quiet["vocab_size"] += 256 if kind == "unigram-bytes" else 0
    names = NAMES + (BYTES if kind == "unigram-bytes" else [])
    return models.Unigram(), T.UnigramTrainer(unk_token="<unk>", special_tokens=names, **quiet)


def around(first, last):
    def make(t):
        return X.TemplateProcessing(single=f"{first} $A {last}", pair=f"{first} $A {last} $B:1 {last}:1",
                                    special_tokens=[(s, t.token_to_id(s)) for s in (first, last)])
    return make


def train_sentencepiece(kind, size, vocab_name, **options):
    import io
    out = io.BytesIO()
    spm.SentencePieceTrainer.train(sentence_iterator=iter(LINES), model_writer=out, model_type=kind, vocab_size=size,
                                   hard_vocab_limit=False, minloglevel=2, character_coverage=0.98, **options)
    return out.getvalue()


def put(name, tokenizer_file, content, cases):
    folder = os.path.join(HERE, name)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, tokenizer_file), "wb") as f:
        f.write(content)
    with open(os.path.join(folder, "cases.json"), "w", encoding="utf-8") as f:
        f.write("[\n" + ",\n".join(json.dumps(c, ensure_ascii=False) for c in cases) + "\n]\n")


def make(name, kind, normalizer=None, pre=None, decoder=None, post=None, size=280, learnt=None, more=()):
    """learnt: what is learnt of whole texts, so that every split shows in the ids."""
    if ONLY and name not in ONLY:
        return
    model, trainer = model_of(kind, size)
    t = Tokenizer(model)
    if normalizer:
        t.normalizer = normalizer
    if pre and not learnt:
        t.pre_tokenizer = pre
    t.train_from_iterator(learnt or LINES, trainer)
    if pre:
        t.pre_tokenizer = pre
    if decoder:
        t.decoder = decoder
    if post:
        t.post_processor = post(t)
    t.add_tokens(ADDED)
    data = json.loads(t.to_str())
    if kind == "unigram-bytes":
        data["model"]["byte_fallback"] = True
    content = json.dumps(data, ensure_ascii=False)
    t = Tokenizer.from_str(content)
    cases, all_texts = [], texts() + list(more)
    for i, text in enumerate(all_texts):
        pair = all_texts[-i] if i % 6 == 1 else None
        e = t.encode(text, pair, add_special_tokens=i % 2 == 0) if pair is not None else t.encode(
            text, add_special_tokens=i % 2 == 0)
        case = {"text": text, "special": i % 2 == 0, "ids": e.ids, "types": e.type_ids, "decoded": t.decode(e.ids)}
        if pair is not None:
            case["pair"] = pair
        cases.append(case)
    put(name, "tokenizer.json", content.encode(), cases)


def make_model(name, kind, size, unused=0, **options):
    """unused: every so manieth of the longer pieces."""
    if ONLY and name not in ONLY:
        return
    model = train_sentencepiece(kind, size, name, **options)
    if unused:
        from sentencepiece import sentencepiece_model_pb2
        proto = sentencepiece_model_pb2.ModelProto.FromString(model)
        longer = [p for p in proto.pieces if p.type == p.NORMAL and len(p.piece) > 1]
        for p in longer[::unused] + [p for p in proto.pieces if p.piece in ("e", "z")]:
            p.type = p.UNUSED
        model = proto.SerializeToString()
    p = spm.SentencePieceProcessor(model_proto=model)
    control = {"<s>", "</s>", "<unk>"}  # rlx takes those out of a text; sentencepiece itself does not
    cases = []
    for text in texts():
        if any(c in text for c in control) or "\u2581" in text:
            continue
        cases.append({"text": text, "special": False, "ids": p.encode(text)})
    put(name, "tokenizer.model", model, cases)


def make_new(name, kind, size, squeeze):
    """A model whose tokenizer_config.json says "legacy": false, as transformers makes a tokenizer of it."""
    if ONLY and name not in ONLY:
        return
    from sentencepiece import sentencepiece_model_pb2
    model = train_sentencepiece(kind, size, name, byte_fallback=kind == "bpe", normalization_rule_name="identity",
                                remove_extra_whitespaces=squeeze)
    pieces = [(p.piece, p.score) for p in sentencepiece_model_pb2.ModelProto.FromString(model).pieces]
    vocab = {p: i for i, (p, _) in enumerate(pieces)}
    if kind == "bpe":
        merges = [(p[:i], p[i:]) for p, _ in sorted(pieces, key=lambda k: -k[1]) for i in range(1, len(p))
                  if p[:i] in vocab and p[i:] in vocab and not p.startswith("<")]
        t = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    else:
        t = Tokenizer(models.Unigram(pieces, unk_id=0))
        t.normalizer = N.Sequence([N.Strip(left=False), N.Replace(Regex(" {2,}"), "▁")])
    t.pre_tokenizer = P.Metaspace(prepend_scheme="first", split=False)
    t.decoder = D.Sequence([D.Replace("▁", " "), D.ByteFallback(), D.Fuse(), D.Strip(" ", 1, 0)])
    t.add_special_tokens([AddedToken(n, normalized=False) for n in NAMES])
    t.add_tokens([AddedToken("<a>", normalized=False)])
    cases = []
    for text in texts() + ["<a> b  c<s> d", " <a>b", "  b<a>  c ", "<a>", "b</s>"]:
        # What sentencepiece squeezes are spaces; Hugging Face's Strip takes other white space, too.
        if "\u2581" not in text and not (squeeze and any(c.isspace() and c != " " for c in text)):
            ids = t.encode(text).ids
            cases.append({"text": text, "special": False, "ids": ids, "decoded": t.decode(ids)})
    put(name, "tokenizer.model", model, cases)
    added = {"content": "<a>", "special": False, "normalized": False, "lstrip": False, "rstrip": False}
    with open(os.path.join(HERE, name, "tokenizer_config.json"), "w") as f:
        json.dump({"legacy": False, "added_tokens_decoder": {str(t.token_to_id("<a>")): added}}, f)


def make_tekken(name, listed):
    """By mistral-common (1.13)."""
    if ONLY and name not in ONLY:
        return
    import base64
    from mistral_common.tokens.tokenizers.tekken import SpecialTokenPolicy, Tekkenizer
    pattern = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}"
               r"\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|"
               r"\s+(?!\S)|\s+")
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = P.Sequence([P.Split(Regex(pattern), "isolated"), P.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.train_from_iterator(LINES, T.BpeTrainer(initial_alphabet=P.ByteLevel.alphabet(), vocab_size=420, show_progress=False))
    learnt = [k for k, _ in sorted(t.get_vocab().items(), key=lambda k: k[1]) if len(k) > 1]
    kept = [b for b in range(256) if 33 <= b < 127 or 161 <= b < 173 or b > 173]
    others = [b for b in range(256) if b not in kept]
    byte = {chr(b): b for b in kept} | {chr(256 + i): b for i, b in enumerate(others)}
    tokens = [bytes([b]) for b in range(256)] + [bytes(byte[c] for c in k) for k in learnt]
    vocab = [{"rank": i, "token_bytes": base64.b64encode(b).decode(), "token_str": b.decode(errors="ignore") or None}
             for i, b in enumerate(tokens)]
    data = {"config": {"pattern": pattern, "num_vocab_tokens": len(vocab), "default_vocab_size": len(vocab) + 20,
                       "default_num_special_tokens": 24, "version": "v7" if listed else "v3"}, "vocab": vocab}
    if listed:
        names = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]
        data["special_tokens"] = [{"rank": i, "token_str": n, "is_control": True} for i, n in enumerate(names)]
    content = json.dumps(data, ensure_ascii=False)
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "tekken.json")
        with open(file, "w", encoding="utf-8") as f:
            f.write(content)
        t = Tekkenizer.from_file(file)
    cases = []
    for i, text in enumerate(texts()):
        ids = t.encode(text, bos=i % 2 == 0, eos=False)
        cases.append({"text": text, "special": i % 2 == 0, "ids": ids, "decoded": t.decode(ids, SpecialTokenPolicy.IGNORE)})
    for text, ids in [("<SPECIAL_23>a", [23]), ("[INST]a[/INST]", [3, t.encode("a", False, False)[0], 4])]:
        ids += t.encode("a", False, False) if len(ids) == 1 else []
        cases.append({"text": text, "special": False, "ids": ids, "decoded": "a"})
    put(name, "tekken.json", content.encode(), cases)


def main():
    byte_level = D.ByteLevel()
    llama3 = Regex(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
                   r"\s*[\r\n]+|\s+(?!\S)|\s+")
    make("byte-prefix", "bytes", pre=P.ByteLevel(add_prefix_space=True), decoder=byte_level,
         post=lambda t: X.RobertaProcessing(("</s>", 2), ("<s>", 1)), size=400)
    make("byte-llama3", "bytes", pre=P.Sequence([P.Split(llama3, "isolated"),
                                                P.ByteLevel(add_prefix_space=False, use_regex=False)]),
         decoder=byte_level, post=lambda t: X.Sequence([X.ByteLevel(), around("<s>", "</s>")(t)]), size=400)
    make("byte-falcon", "bytes", pre=P.Sequence([P.Punctuation("contiguous"), P.ByteLevel(add_prefix_space=False),
                                                P.Digits(False), P.Split(Regex("[0-9][0-9][0-9]"), "isolated")]),
         decoder=byte_level, size=400)
    make("byte-normalizer", "bytes", normalizer=N.Sequence([N.NFKC(), N.ByteLevel()]), decoder=byte_level, size=400)
    for how in ["removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"]:
        make("split-" + how.replace("_", "-"), "bpe",
             pre=P.Sequence([P.Split(Regex(r"\s|[aeiou]"), how), P.Split("t", how), P.Punctuation(how)]))
        make("inverted-" + how.replace("_", "-"), "fused", pre=P.Split(Regex(r"\w+|(?=[A-Z])|\bo"), how, invert=True))
    make("whitespace", "bpe", normalizer=N.Sequence([N.Nmt(), N.Lowercase()]), pre=P.Whitespace())
    make("accents", "fused", normalizer=N.Sequence([N.NFD(), N.StripAccents()]), pre=P.WhitespaceSplit())
    make("delimiter", "bpe", normalizer=N.Strip(), pre=P.Sequence([P.CharDelimiterSplit("e"), P.FixedLength(3)]))
    make("replace", "bpe", normalizer=N.Sequence([N.Strip(left=False), N.Replace(Regex(r"^|o*"), "-"), N.Prepend("x"),
                                                  N.Replace("th", "TH")]))
    make("digits", "affix", normalizer=N.NFC(), pre=P.Sequence([P.BertPreTokenizer(), P.Digits(True)]))
    for scheme in ["always", "first", "never"]:
        make("metaspace-" + scheme, "bpe", pre=P.Metaspace(prepend_scheme=scheme),
             decoder=D.Metaspace(prepend_scheme=scheme))
        make("fallback-" + scheme, "fallback", pre=P.Metaspace(prepend_scheme=scheme, split=False),
             decoder=D.Sequence([D.Replace("▁", " "), D.ByteFallback(), D.Fuse(), D.Strip(" ", 1, 0)]))
    make("gemma", "fallback", normalizer=N.Replace(" ", "▁"), pre=P.Split(" ", "merged_with_previous"),
         decoder=D.Sequence([D.Replace("▁", " "), D.ByteFallback(), D.Fuse()]))
    make("unigram", "unigram", normalizer=N.Replace(Regex(" {2,}"), " "),
         pre=P.Sequence([P.WhitespaceSplit(), P.Metaspace()]), decoder=D.Metaspace(), post=around("<s>", "</s>"))
    make("unigram-bytes", "unigram-bytes", pre=P.Metaspace(split=False),
         decoder=D.Sequence([D.ByteFallback(), D.Metaspace()]))
    make("word-level", "word-level", normalizer=N.Lowercase(), pre=P.Whitespace(), post=around("<s>", "</s>"))
    make("letters-ctc", "letters", normalizer=N.Sequence([N.Lowercase(), N.Replace(" ", "|")]),
         pre=P.Split(Regex("."), "isolated"), decoder=D.CTC(), more=["hello  all|book|.", "aa b'bb ,"])
    make("ends", "ends", pre=P.WhitespaceSplit(), decoder=D.BPEDecoder())
    make("scripts", "bpe", pre=P.UnicodeScripts(), learnt=SCRIPTS, more=SCRIPTS, size=500)
    sets = [r"[[:punct:]&&[^-_]]+", r"[\p{L}&&[^\p{Han}a-f]]+", r"[x[yz][^\s\w]]{2}", r"[^a[[:digit:]]\W]{3}", r"\h\H",
            r"(?m:\n.)", r"[[:^alpha:]&&\S]+[^[:upper:]&&[^\n]&&[^ ]]", r"[\W&&\p{Alnum}]|[-[ab]-&&[^^]]"]
    for i, pattern in enumerate(sets):
        make("regex-set-%d" % i, "bpe", pre=P.Split(Regex(pattern), "isolated"), learnt=SETS, more=SETS, size=420)
    for lower in [True, False]:
        make("bert-uncased" if lower else "bert-cased", "words",
             normalizer=N.BertNormalizer(lowercase=lower, handle_chinese_chars=lower, clean_text=lower),
             pre=P.BertPreTokenizer(), decoder=D.WordPiece(cleanup=lower),
             post=(lambda t: X.BertProcessing(("[SEP]", 2), ("[CLS]", 1))) if lower else around("[CLS]", "[SEP]"))
    make_model("model-bpe", "bpe", 420, byte_fallback=True, normalization_rule_name="identity",
               remove_extra_whitespaces=False, user_defined_symbols=["<a>", "  "])
    make_model("model-unused", "bpe", 420, unused=3, byte_fallback=True, normalization_rule_name="identity")
    make_model("model-unused-unigram", "unigram", 200, unused=3, normalization_rule_name="identity")
    make_model("model-unigram", "unigram", 200, normalization_rule_name="identity", user_defined_symbols=["<a>", "boat"])
    make_new("model-new", "bpe", 420, False)
    make_new("model-new-unigram", "unigram", 200, True)
    make_tekken("tekken", False)
    make_tekken("tekken-listed", True)
    make_model("model-suffix", "unigram", 200, normalization_rule_name="identity", treat_whitespace_as_suffix=True)


main()
