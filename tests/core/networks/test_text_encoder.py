"""Prompts become the original's ids, however they are written."""

import html
import random
import unicodedata
import warnings
from itertools import pairwise
from types import SimpleNamespace

import ftfy
import pytest
import regex
from pack.tests.host.fetch import CHECKOUT
from pack.vqdiffusion_core.checkpoints.vocabulary import read_vocabulary
from pack.vqdiffusion_core.networks.text_encoder import TextEncoder, clip_tokenizer, quote
from pack.vqdiffusion_core.notices import Notice
from pack.vqdiffusion_core.training.tokenizer import learn_vocabulary

CLIP_FOLDER = CHECKOUT / ".cache" / "comfyui-0.3.75" / "comfy" / "sd1_tokenizer"
# Mojibake, entities, contractions, signs, cases that do not come back, digits of all sorts, text of other scripts.
PIECES = """
horse Caf\xe9 \xc7A NA\xcfVE stra\xdfe \u1e9e \u0130stanbul \u0131I \u03a3\u038a\u03a3\u03a5\u03a6\u039f\u03a3
\u03c2\u03a3 \ufb01n \u01c4 \u0345 \u1fb3 \u017f K \xc5 \u01c5 \u2163\u216b \u2173 \u24b6\u24d0 \xbd\xb2
\u0663\u0664 \uff19 \u4e03 \u65e5\u672c\u8a9e \ud55c\uad6d\uc5b4 \u0939\u093f\u0928\u094d\u0926\u0940
\u05e9\u05dc\u05d5\u05dd \u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u0e44\u0e17\u0e22 \U0001f600 \U0001f389
\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f44d\U0001f3fd \U0001f1e7\U0001f1f7 \u2603\ufe0f \u2122 \xa9
\u2116 \ufdfd \uff46\uff55\uff4c\uff4c \uff37 x\u0327\u0301 \xe9 e\u0301 E\u0301 \xc5\xc5 \u200b \u200d \ufeff
\xad \u202e it's IT'S they'LL I'm we'VE you'Re '\u017f 'S 'T don\u2019t DON\u2019T \u2018q\u2019 \u201cQ\u201d
\xab\xe9\xbb \u2026 \u2014 \u2010 '' '''' '' s \xc3\u2030 \xc3\xa9 \xc3\u2030COLE \xc3\u0153ber \xc3\xbcber
\xe2\u20ac\u2122 \xe2\u20ac\u0153HI\xe2\u20ac\x9d \xc3\xb1 \xc3\u2018 \xc2\xa3 \xc2\xa9 S\xc3O S\xc3\xa3o
\xd0\u0178\xd1\u20ac \xef\xac\x81 \xf0\u0178\u02dc\u20ac \xc3\u0192\xe2\u20ac\xb0 sch\xc3\xb6n SCH\xc3\u2013N
&amp; &AMP; &Amp; &amp;amp; &AMP;amp; &eacute; &Eacute; &EACUTE; &lt;b&gt; &LT; &copy; &COPY; &nbsp; &NBSP;
&#65; &#x41; &#X41; &#x1F600; &#233; &#201; &#x345; &#837; &#128; &#0; &#xD800; &#9999999; &notit; &amp;Eacute;
<|endoftext|> <|startoftext|> <|ENDOFTEXT|> !!<|endoftext|> <|endoftext|>!! a<|endoftext|>b <|\u017ftartoftext|>
< > | || <| |> !! ?! ... #1 @x $5 50% a/b a\\b [x] {y} _z_ ~ ` ^ \x7f \x00 \x1b[31m http://x.y/?q=1&lt=2
""".split()
SPACES = [" ", "  ", "\t", "\n", "\r\n", "\x85", "\u3000", "\u2028", "\xa0", "\x0c", "\x1f", "\u180e", "\u2007"]
PLANES = [
    *((0x20, 0x7F), (0xA0, 0x250), (0x250, 0x530), (0x530, 0x1200), (0x1E00, 0x2C00), (0x3000, 0xA000)),
    (0x1F300, 0x1F700),
]


def hostile(count):
    rng = random.Random(17)
    for _ in range(count):
        prompt = ""
        for _ in range(rng.randint(0, 9)):
            drawn = chr(rng.randrange(*rng.choice(PLANES)))
            drawn *= unicodedata.name(drawn, None) is not None  # what newer versions have is read as theirs say
            prompt += rng.choice([*rng.choices(PIECES, k=4), rng.choice(SPACES), drawn]) + rng.choice(["", " ", " "])
        yield rng.choice([str, str, str.upper, str.title, str.swapcase])(prompt)


class Original:
    """The reading of a prompt by the original's rules, its merges one after the other."""

    WORDS = regex.compile(
        r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+", regex.IGNORECASE
    )

    def __init__(self, ids, merges):
        self.ids, self.rank = ids, {tuple(pair): i for i, pair in enumerate(merges)}
        visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
        others = [byte for byte in range(256) if byte not in visible]
        self.letter = {byte: chr(byte) for byte in visible} | {byte: chr(256 + i) for i, byte in enumerate(others)}

    def __call__(self, text):
        text = html.unescape(html.unescape(ftfy.fix_text(text.lower()))).strip()
        text = regex.sub(r"\s+", " ", text).strip().lower()
        return [self.ids[part] for word in self.WORDS.findall(text) for part in self.parts(word)]

    def parts(self, word):
        if word in ("<|startoftext|>", "<|endoftext|>"):
            return [word]
        parts = [self.letter[byte] for byte in word.encode()]
        parts[-1] += "</w>"
        while best := min(
            (pair for pair in pairwise(parts) if pair in self.rank), key=self.rank.__getitem__, default=None
        ):
            joined, i = [], 0
            while i < len(parts):
                together = tuple(parts[i : i + 2]) == best
                joined.append("".join(best) if together else parts[i])
                i += 1 + together
            parts = joined
        return parts


ENDLESS = SimpleNamespace(config=SimpleNamespace(max_position_embeddings=500))  # so that nothing is left out


@pytest.fixture(params=["learned", "of CLIP"])
def vocabulary(request):
    if request.param == "learned":
        return learn_vocabulary(list(hostile(400)), merges=300)
    if not CLIP_FOLDER.is_dir():
        pytest.skip("CLIP's vocabulary comes with the test host: ./dev test")
    return read_vocabulary(CLIP_FOLDER)


@pytest.mark.filterwarnings("ignore::pack.vqdiffusion_core.notices.Notice")
def test_prompts_become_the_ids_of_the_original_however_hostile(vocabulary):
    encoder = TextEncoder(ENDLESS, clip_tokenizer(vocabulary.ids, vocabulary.merges))
    original = Original(vocabulary.ids, vocabulary.merges)
    start, end = vocabulary.ids["<|startoftext|>"], vocabulary.ids["<|endoftext|>"]
    for prompt in hostile(3000):
        ids = original(prompt)
        expected = [start, *ids, end] + [0] * (498 - len(ids))
        assert encoder.tokenize(prompt) == expected, ascii(prompt)
        if not set("()\\") & set(prompt):  # which weigh
            assert [token.id for token in encoder.weigh(prompt)] == expected, ascii(prompt)


def test_an_end_of_text_that_stands_alone_is_one_and_one_among_signs_is_not(vocabulary):
    encoder = TextEncoder(ENDLESS, clip_tokenizer(vocabulary.ids, vocabulary.merges))
    end = vocabulary.ids["<|endoftext|>"]
    for prompt, count in [("a <|endoftext|> b", 2), ("a<|ENDOFTEXT|>b", 2), ("!!<|endoftext|>", 1)]:
        assert encoder.tokenize(prompt).count(end) == count, prompt


@pytest.mark.parametrize(
    ("prompt", "unknown"),
    [
        ("a Fox, (red:1.3) 100%", []),
        ("a fox by the sea", ["by", "the", "sea"]),
        ("foxes", ["foxes"]),  # other tokens, which the model has never seen
        ("cafe\u0301 CAF\u00c9", []),  # one letter in Unicode's two ways
        ("\u732b\u72d0", ["\u72d0"]),
    ],
)
def test_a_word_is_unknown_if_no_caption_had_it_in_that_form(prompt, unknown):
    vocabulary = learn_vocabulary(["a red FOX", "Caf\u00e9", "\u732b"], merges=50)
    encoder = TextEncoder(ENDLESS, clip_tokenizer(vocabulary.ids, vocabulary.merges), vocabulary.words)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        encoder.weigh(prompt)
    said = [str(notice.message) for notice in heard]
    expected = f"This model does not know {', '.join(quote(word) for word in unknown)}: the captions"
    assert [line[: len(expected)] for line in said] == ([expected] if unknown else [])


def test_many_unknown_words_are_named_as_far_as_they_fit_on_a_line():
    encoder = TextEncoder(ENDLESS, clip_tokenizer(*learned_of(["a"])), frozenset({"a"}))
    with pytest.warns(Notice, match='"i" and 2 more: the captions'):
        encoder.weigh("a b c d e f g h i j k")


def learned_of(captions):
    vocabulary = learn_vocabulary(captions, merges=5)
    return vocabulary.ids, vocabulary.merges


@pytest.mark.filterwarnings("error")
def test_a_command_that_no_model_knows_is_named_as_such_alone():
    encoder = TextEncoder(ENDLESS, clip_tokenizer(*learned_of(["a fox"])), frozenset({"a", "fox"}))
    with pytest.warns(Notice) as heard:
        encoder.weigh("a fox <lora:fur:1>")
    assert ["read as words" in str(notice.message) for notice in heard] == [True]
