"""Everything that the page says, in English and in Chinese."""

from collections.abc import Mapping
from dataclasses import dataclass

from experiments.demo.progress import Caution
from genir.records import Verdict


@dataclass(frozen=True)
class Wording:
    """The page's words in one language. Places in braces are filled in where the words are used."""

    language: str
    title: str
    tagline: str
    question: str
    placeholder: str
    ask: str
    fresh: str
    goes_on: str
    searched_for: str
    forgotten: str
    retriever: str
    generator: str
    automatic: str
    used: str
    passages_read: str
    threshold: str
    compare: str
    closed_book: str
    closed_book_help: str
    grounded: str
    grounded_help: str
    sources: str
    tree: str
    tree_help: str
    no_tree: str
    not_drawn: str
    examples: str
    example_headers: tuple[str, str]
    waiting: str
    nothing_yet: str
    abstained: str
    only_copies: str
    from_memory: str
    held_back: str
    confidence: str
    rank: str
    score: str
    source: str
    supported_by: str
    otherwise: str
    dropped: str
    kept: str
    written: str
    more: str
    behind: str
    beams: str
    seconds: str
    stages: Mapping[str, str]
    verdicts: Mapping[Verdict, str]
    cautions: Mapping[Caution, str]
    api: str


ENGLISH = Wording(
    language="Language · 语言",
    title="Answers with their sources",
    tagline="Ask the documents. Every claim is numbered with the passage that it rests on: click a number to see the words.",
    question="Your question",
    placeholder="What is the capital of Peru?",
    ask="Ask",
    fresh="New conversation",
    goes_on="The next question goes on with this conversation.",
    searched_for="Searched for: {query}",
    forgotten="{count} earlier turns are left out.",
    retriever="Retriever (finds passages)",
    generator="Generator (answers)",
    automatic="by the question",
    used="Found by {retriever}, answered by {generator}.",
    passages_read="Passages to read",
    threshold="Least confidence",
    compare="Also without documents",
    closed_book="Without documents",
    closed_book_help="the same generator, from memory alone",
    grounded="From the documents",
    grounded_help="numbers lead to the sources",
    sources="Sources",
    tree="How the model wrote the document's identifier",
    tree_help="Each box is a token. Top row: what was written. Below: what the tree also allowed there, with its share.",
    no_tree="{retriever} writes no identifier. A generative retriever's is drawn here, token by token over its tree.",
    not_drawn="The tree of {retriever} is not drawn; the identifiers that it wrote stand beside the sources.",
    examples="Examples",
    example_headers=("Click to ask", "What it shows"),
    waiting="Searching …",
    nothing_yet="The answer will stand here.",
    abstained="I do not know.",
    only_copies="{generator} only copies from passages; a language model would answer from memory here.",
    from_memory="No source: nothing here can be checked.",
    held_back="Held back: {confidence} sure, {threshold} asked for. It would have said: {text}",
    confidence="confidence",
    rank="rank",
    score="score",
    source="Source {number}: {title}",
    supported_by="support {support}",
    otherwise="Source {number} says otherwise: {text}",
    dropped="dropped by the beam",
    kept="kept by another beam",
    written="written",
    more="and {count} more",
    behind="{count} documents",
    beams="prefixes followed: {count}",
    seconds="Time: {total} s",
    stages={
        "load": "loading",
        "search": "search",
        "walk": "tree",
        "answer": "reading and answering",
        "closed_book": "answering without documents",
    },
    verdicts={
        "supported": "supported by its source",
        "unsupported": "not supported",
        "contradicted": "contradicted by its source",
    },
    cautions={
        "nothing_found": "No passage was found for this question. Try other words, or another retriever.",
        "nothing_relevant": "Nothing relevant was found: the passages below share no word with the question. Do not rely on an answer.",
        "not_answered": "The generator sees no answer in the passages that were found. Read them below, or ask in other words.",
        "below_threshold": "The answer was less sure than you asked for, and was held back.",
    },
    api='As JSON: POST /api/answer {"question": "...", "history": [...]}; POST /api/search; GET /api/health; schema at /api/openapi.json.',
)

CHINESE = Wording(
    language="Language · 语言",
    title="有出处的回答",
    tagline="向文档提问。每个论断都标有所依据段落的编号：点击编号，即可看到原文中的依据。",
    question="您的问题",
    placeholder="秘鲁的首都是哪里？",
    ask="提问",
    fresh="新对话",
    goes_on="下一个问题将接着这段对话。",
    searched_for="检索词：{query}",
    forgotten="已略去更早的 {count} 轮。",
    retriever="检索器（查找段落）",
    generator="生成器（撰写回答）",
    automatic="视问题而定",
    used="由 {retriever} 检索，由 {generator} 作答。",
    passages_read="阅读的段落数",
    threshold="最低置信度",
    compare="同时不看文档作答",
    closed_book="不看文档",
    closed_book_help="同一生成器，仅凭记忆",
    grounded="依据文档",
    grounded_help="编号通向出处",
    sources="出处",
    tree="模型如何写出文档标识符",
    tree_help="每个方框是一个词元。上排：写出的词元。下方：树在该处还允许的词元及其占比。",
    no_tree="{retriever} 不写标识符。若使用生成式检索器，此处会画出标识符如何沿树逐个词元写出。",
    not_drawn="不画 {retriever} 的标识符树；它写出的标识符列在出处旁边。",
    examples="示例",
    example_headers=("点击提问", "说明"),
    waiting="正在检索……",
    nothing_yet="回答将显示在这里。",
    abstained="我不知道。",
    only_copies="{generator} 只会摘抄段落；若换成语言模型，这里会显示它凭记忆的回答。",
    from_memory="没有出处：无法核实。",
    held_back="未予显示：把握为 {confidence}，要求为 {threshold}。原本的回答是：{text}",
    confidence="置信度",
    rank="名次",
    score="得分",
    source="出处 {number}：{title}",
    supported_by="支持度 {support}",
    otherwise="出处 {number} 另有说法：{text}",
    dropped="被束搜索舍弃",
    kept="由其他束保留",
    written="已写出",
    more="另有 {count} 个",
    behind="{count} 篇文档",
    beams="同时跟踪 {count} 个前缀",
    seconds="用时：{total} 秒",
    stages={
        "load": "加载",
        "search": "检索",
        "walk": "标识符树",
        "answer": "阅读并回答",
        "closed_book": "不看文档回答",
    },
    verdicts={"supported": "出处支持", "unsupported": "缺乏支持", "contradicted": "与出处矛盾"},
    cautions={
        "nothing_found": "没有找到与此问题有关的段落。请换个说法，或换一种检索器。",
        "nothing_relevant": "没有找到相关内容：下列段落与问题没有共同的词语，请勿采信其回答。",
        "not_answered": "生成器在找到的段落中没有看到答案。请阅读下列段落，或换个说法提问。",
        "below_threshold": "回答的把握低于要求，未予显示。",
    },
    api='JSON 接口：POST /api/answer {"question": "...", "history": [...]}；POST /api/search；GET /api/health；模式见 /api/openapi.json。',
)

WORDINGS: Mapping[str, Wording] = {"English": ENGLISH, "中文": CHINESE}
