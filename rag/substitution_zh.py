"""Chinese follow-up questions made whole by substitution, where that can be done surely: see `rag.substitution`.

"那秘鲁呢？" behind "挪威的首都是哪里？" asks "秘鲁的首都是哪里？", and "那货币呢？" asks "挪威的货币是什么？".
他 and 她 stand for the answer of a question for a person (谁), 那里 for that of one for a place, 它 and otherwise 他 for what the
question begins with, or for the title in it.

Known gaps: Chinese marks no names, so a property is known by the words of a list, a name by being none of them; a question is understood
where it begins with its topic ("挪威的首都……", "埃菲尔铁塔在……"), holds one title in 《》, or ends with its object ("谁发明了电话？").
"""

import re

_END = r"\s*[？?。！!]*\s*"
_PART = re.compile(rf"\s*(?:那么?|那麼|还有|還有|而)?[，,\s]*(?P<named>.+?)(?:的)?(?:呢|怎么样|怎麼樣|如何)?{_END}")
_LEAD = re.compile(r"\s*(?:请问|請問|您知道|你知道|那么?|那麼)?[，,\s]*")
_FUNCTION = re.compile(r"[的是在有了吗嗎呢吧被把谁誰哪几幾何它他她牠什怎多，,；;]|那[里裡儿兒个個]|这|這")
_ASKING = re.compile(r"什么|什麼|谁|誰|哪|几|幾|多少|怎|何")
_OWNED = re.compile(r"(?P<topic>[^的是在有]+)的(?P<what>[^的是在有]*)(?P<rest>(?:是|在|有|叫|为|為|用|位于|位於).+)")
_SUBJECT = re.compile(
    r"(?P<topic>[^的是在有了谁誰哪几幾什多何为為]{2,}?)(?P<rest>(?:是|在|有|位于|位於|属于|屬於|出生|生于|生於|死于|死於|去世|何时|何時|什么时候|"
    r"什麼時候|哪|多|建于|建於|建成|使用|用|讲|講|说|說|流经|流經|流入).+)"
)
_OBJECT = re.compile(rf"(?P<rest>(?:谁|誰|哪位).+?了)(?P<topic>[^的是在有了]+?){_END}")
_TITLE = re.compile(r"《[^》]+》")
_PEOPLE_OR_THINGS = frozenset(
    "人 人物 东西 東西 国家 國家 城市 地方 公司 时间 時間 書 书".split()
)  # behind a relative clause
_PROPERTY = re.compile(
    r"(?:首都|首府|省会|省會|人口|面积|面積|货币|貨幣|(?:官方)?[语語]言|[总總][统統]|首相|总理|總理|国王|國王|国旗|國旗|国歌|國歌|历史|歷史|气候|氣候|"
    r"位置|作者|译者|譯者|出生地|出生日期|生日|国籍|國籍|职业|職業|高度|海拔|长度|長度|深度|宽度|寬度|重量|质量|質量|密度|颜色|顏色|符号|符號|原子序数|原子序數|"
    r"[时時]间|[时時]間|年份|地址|域名|区号|區號|最大城市|最高峰|最长的河流|发明者|發明者|发现者|發現者|设计师|設計師|建筑师|建築師|主角|主题|主題|用途|特点|特點)"
)
_PRONOUN = re.compile(
    r"(?<![其吉])(?P<person>[他她])(?![们們])|(?<![其吉])(?P<thing>[它牠])(?![们們])|(?P<place>[那这這][里裡儿兒])"
)
_OTHER_POINTERS = re.compile(r"[它他她牠][们們]|其(?!他|它|余|餘|中|实|實)|[那这這](?:个|個|些|座|位|本|部)|该|此")


def whole_zh(question: str, before: str, answer: str) -> str | None:
    """The question with what it takes from `before`, a whole question, and its answer, empty where there is none; None where not sure."""
    before = before[_LEAD.match(before).end() :]  # type: ignore[union-attr]
    if _OTHER_POINTERS.search(question):
        return None
    if _PRONOUN.search(question):
        return _resolved(question, before, answer)
    part = _PART.fullmatch(question)
    return None if part is None else _asked_again(part["named"], before)


def _asked_again(named: str, before: str) -> str | None:
    titles = _TITLE.findall(before)
    if len(titles) == 1 and not _FUNCTION.search(named) and not _PROPERTY.fullmatch(named):
        return before.replace(titles[0], named if _TITLE.fullmatch(named) else f"《{named}》")
    owner, _, owned = named.partition("的")
    if owned:
        return None if _FUNCTION.search(owner + owned) else f"{named}是什么？"
    if _FUNCTION.search(named) or (titles and not _PROPERTY.fullmatch(named)):
        return None
    if _PROPERTY.fullmatch(named):
        topic = titles[0] if len(titles) == 1 else _topic(before)
        return topic and f"{topic}的{named}是什么？"
    asked = _owned(before)
    if asked:
        return f"{named}的{asked['what']}{asked['rest']}"
    subject, thing = _subject(before), _OBJECT.fullmatch(before)
    if subject:
        return named + subject["rest"]
    return f"{thing['rest']}{named}？" if thing else None


def _resolved(question: str, before: str, answer: str) -> str | None:
    kinds = {match.lastgroup for match in _PRONOUN.finditer(question)}
    if len(kinds) != 1:
        return None
    [kind] = kinds
    person, place = re.search(r"谁|誰|哪位", before), re.search(r"哪[里裡儿兒]|何处|何處", before)
    about: str | None
    if (kind == "person" and person) or (kind == "place" and place):
        about = answer if answer and not _FUNCTION.search(answer) else None
    elif kind == "place" or not (person or place or _asks_value(before)):
        about = None
    else:
        titles, thing, subject = _TITLE.findall(before), _OBJECT.fullmatch(before), _subject(before)
        asked = _owned(before) if kind == "person" else None
        found = titles[:1] if len(titles) == 1 else [one["topic"] for one in (thing, subject, asked) if one]
        about = found[0] if found else None
    return about and _PRONOUN.sub(lambda _: about, question)


def _topic(before: str) -> str | None:
    found = _owned(before) or _subject(before)
    return found["topic"] if found else None


def _owned(before: str) -> re.Match[str] | None:
    """A question about a property of its topic: topic, what, rest."""
    found = _OWNED.fullmatch(before)
    relative = found and (not found["what"] or found["what"] in _PEOPLE_OR_THINGS or _ASKING.search(found["topic"]))
    return None if relative else found


def _subject(before: str) -> re.Match[str] | None:
    """A question that begins with its topic, and asks about that: topic, rest."""
    found = _SUBJECT.fullmatch(before)
    return found if found and "的" not in before[: found.end("topic") + 1] else None


def _asks_value(before: str) -> bool:
    """Whether a question asks for a time, a number or a reason, which no pronoun stands for."""
    return (
        re.search(r"什么时候|什麼時候|何时|何時|哪一?年|多少|几|幾|多[高长長大深宽寬重远遠]|为什么|為什麼|怎", before)
        is not None
    )
