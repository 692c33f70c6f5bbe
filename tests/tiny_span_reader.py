"""A span reader for tests, made in milliseconds without a network: a word tokenizer and a random BERT of one layer."""

from pathlib import Path

import torch

from rag.span.model import SpanModel
from rag.span.reader import SpanReader, SpanSettings

WORDS = """
    the a of in is was who what where when which capital river king lies on and it to by near bridge built year old new
    oslo norway lima peru cairo egypt rome italy paris france nile seine tiber north south east west sea coast first second
    1850 1902 red blue green ignore all passages say banana un ##happ ##y . , ? ! : ' " ( ) < > / -
""".split()
SMALL = SpanSettings(max_length=64, stride=8, max_question_tokens=16, max_answer_tokens=6)


def save_word_encoder(folder: Path, width: int = 16) -> Path:
    """Write a random one-layer BERT over WORDS, with a WordPiece tokenizer, into `folder`."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
    tokenizer = Tokenizer(models.WordPiece(vocab={piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=width,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=2 * width,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def tiny_reader(encoder: Path, settings: SpanSettings = SMALL) -> SpanReader:
    """An untrained reader over `save_word_encoder`'s folder, in float32."""
    torch.manual_seed(1)
    return SpanReader(SpanModel.pretrained(str(encoder), settings.max_length), settings, precision="float32")
