"""Makers of Chinese questions and answers."""

from __future__ import annotations

import random

from examples.base_models.dialogue import Dialogue, WeightedMaker, phrase
from examples.base_models.lexicon import Word, common_characters, known_characters, sentences, words

_SENTENCE_SHARE = 0.3
_WORD_SHARE = 0.45
_RARE_SHARE = 0.1
_NUMERALS = "零一二三四五六七八九十"
_PEOPLE = ("小明", "小红", "老王", "阿强", "小芳", "大伟", "李静", "张敏")

_REPEAT = (
    ("请重复：{text}", "你说的是“{text}”。"),
    ("把“{text}”再说一遍。", "{text}。"),
    ("跟我念：{text}", "{text}。"),
    ("我刚才说了“{text}”，我说了什么？", "你说了“{text}”。"),
)
_REVERSE = (
    ("把“{text}”倒过来说。", "“{text}”倒过来是“{reversed}”。"),
    ("“{text}”反着念是什么？", "反着念是“{reversed}”。"),
)
_FIRST = (
    ("“{text}”的第一个字是什么？", "第一个字是“{first}”。"),
    ("“{text}”以什么字开头？", "以“{first}”字开头。"),
)
_LAST = (
    ("“{text}”的最后一个字是什么？", "最后一个字是“{last}”。"),
    ("“{text}”以什么字结尾？", "以“{last}”字结尾。"),
)
_COUNT = (("“{text}”有几个字？", "“{text}”有{count}个字。"),)
_ORDER = (
    ("{one}和{two}，先说的是哪个？", "先说的是{one}。"),
    ("{one}和{two}，后说的是哪个？", "后说的是{two}。"),
    ("{one}、{two}，请换个顺序说。", "{two}、{one}。"),
)
_KIND = (
    ("{word}是什么？", "{word}是一种{kind}。"),
    ("{word}属于哪一类？", "{word}属于{kind}。"),
    ("你知道{word}吗？", "我知道，{word}是一种{kind}。"),
)
_IS_KIND = (
    ("{word}是不是{kind}？", "是的，{word}是{kind}。"),
    ("{other}是不是{kind}？", "不是，{other}是{other_kind}。"),
)
_TRANSLATE = (
    ("“{word}”用英语怎么说？", "“{word}”用英语说是{english}。"),
    ("{english}是什么意思？", "{english}的意思是“{word}”。"),
)
_LIKES = (
    ("{one}喜欢{likes}，{two}喜欢{other}。{one}喜欢什么？", "{one}喜欢{likes}。"),
    ("{one}喜欢{likes}，{two}喜欢{other}。{two}喜欢什么？", "{two}喜欢{other}。"),
    ("{one}喜欢{likes}，{two}喜欢{other}。谁喜欢{likes}？", "{one}喜欢{likes}。"),
    ("{one}喜欢{likes}，{two}喜欢{other}。谁喜欢{other}？", "{two}喜欢{other}。"),
)
_NUMBER = (
    ("请重复号码{text}。", "号码是{text}。"),
    ("我的号码是{text}，请记下来。", "记下了，你的号码是{text}。"),
    ("号码{text}反着念是什么？", "反着念是{reversed}。"),
)
_TALK = (
    ("你好", "你好，我是一个小小的语言模型。"),
    ("早上好", "早上好，祝你今天过得愉快。"),
    ("你是谁？", "我是一个小小的语言模型。"),
    ("你叫什么名字？", "我没有名字，我是一个语言模型。"),
    ("你会做什么？", "我会回答一些简单的问题。"),
    ("你住在哪里？", "我住在电脑里。"),
    ("你喜欢吃什么？", "我是语言模型，不用吃东西。"),
    ("你能帮我吗？", "可以，请说出你的问题。"),
    ("谢谢你", "不客气。"),
    ("再见", "再见，祝你一切顺利。"),
)
_UNKNOWN = (
    ("{text}怎么样？", "关于{text}，我知道得不多。"),
    ("你怎么看{text}？", "关于{text}，我没有什么看法。"),
    ("说说{text}吧。", "{text}的事，我知道得不多。"),
)


def repeat(rng: random.Random) -> Dialogue:
    """Ask for a phrase or a whole sentence to be said again."""
    text = rng.choice(sentences("zh")).rstrip("。？") if rng.random() < _SENTENCE_SHARE else _long_text(rng)
    return phrase(rng, _REPEAT, text=text)


def reverse(rng: random.Random) -> Dialogue:
    """Ask for a phrase to be read backwards."""
    text = _text(rng)
    return phrase(rng, _REVERSE, text=text, reversed=text[::-1])


def pick(rng: random.Random) -> Dialogue:
    """Ask for the first or the last character of a phrase, or for their number."""
    text = _text(rng)
    phrasings = rng.choice((_FIRST, _LAST, _COUNT))
    return phrase(rng, phrasings, text=text, first=text[0], last=text[-1], count=_NUMERALS[len(text)])


def order(rng: random.Random) -> Dialogue:
    """Ask which of two phrases came first."""
    return phrase(rng, _ORDER, one=_text(rng), two=_text(rng))


def kind(rng: random.Random) -> Dialogue:
    """Ask what kind of thing a word names."""
    word, other = _two_kinds(rng)
    phrasings = rng.choice((_KIND, _KIND, _IS_KIND))
    return phrase(rng, phrasings, word=word.zh, kind=word.kind_zh, other=other.zh, other_kind=other.kind_zh)


def translate(rng: random.Random) -> Dialogue:
    """Ask for a word in the other language."""
    word = rng.choice(words())
    return phrase(rng, _TRANSLATE, word=word.zh, english=word.en)


def likes(rng: random.Random) -> Dialogue:
    """Tell two facts and ask for one of them."""
    one, two = rng.sample(_PEOPLE, 2)
    liked, other = rng.sample(words(), 2)
    return phrase(rng, _LIKES, one=one, two=two, likes=liked.zh, other=other.zh)


def number(rng: random.Random) -> Dialogue:
    """Ask for a number to be repeated or read backwards."""
    text = "".join(rng.choices("0123456789", k=rng.randint(3, 8)))
    return phrase(rng, _NUMBER, text=text, reversed=text[::-1])


def talk(rng: random.Random) -> Dialogue:
    """Say one of the fixed pleasantries."""
    return phrase(rng, _TALK)


def unknown(rng: random.Random) -> Dialogue:
    """Ask about something the model knows nothing of."""
    return phrase(rng, _UNKNOWN, text=_text(rng))


MAKERS = (
    WeightedMaker(repeat, 40),
    WeightedMaker(reverse, 14),
    WeightedMaker(pick, 10),
    WeightedMaker(order, 10),
    WeightedMaker(kind, 10),
    WeightedMaker(translate, 6),
    WeightedMaker(likes, 8),
    WeightedMaker(number, 6),
    WeightedMaker(talk, 6),
    WeightedMaker(unknown, 8),
)


def _text(rng: random.Random) -> str:
    """Answer one or two words, or two to five characters at random, so that every character's bytes are learned."""
    share = rng.random()
    if share < _WORD_SHARE:
        return "".join(word.zh for word in rng.sample(words(), rng.randint(1, 2)))
    characters = common_characters() if share < _WORD_SHARE + _RARE_SHARE else known_characters()
    return "".join(rng.choices(characters, k=rng.randint(2, 5)))


def _long_text(rng: random.Random) -> str:
    """Answer four to twelve characters or two to five words at random: too much to guess, so it must be read."""
    if rng.random() < _WORD_SHARE:
        return "".join(word.zh for word in rng.sample(words(), rng.randint(2, 5)))
    return "".join(rng.choices(known_characters(), k=rng.randint(4, 12)))


def _two_kinds(rng: random.Random) -> tuple[Word, Word]:
    word, other = rng.sample(words(), 2)
    while other.kind_zh == word.kind_zh:
        other = rng.choice(words())
    return word, other
