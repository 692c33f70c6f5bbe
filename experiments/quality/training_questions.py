"""Fewer training questions: a data folder that differs from another in nothing else, for everything that is to learn from the same.

Questions are drawn at random by a seed, the fewer among the more, so that what learns from 1 % of them has seen nothing that 10 % have
not. The manifest, written last, names the data set, the seed and the number: a folder without it, or with another one, is made anew.
"""

import random
from dataclasses import replace
from pathlib import Path

from genir.formats import dataset_sha256, write_dataset
from genir.manifest import is_current, write_manifest
from genir.records import Dataset, Qrels

STAGE = "training questions"


def fewer_questions(dataset: Dataset, data: Path, work: Path, number: int, seed: int) -> Path:
    """The folder below `work`, of the data set's name, with `number` of its training questions; `data` itself where it has no more."""
    if number >= len(dataset.qrels.get("train", ())):
        return data
    folder = work / f"{number}-questions-seed-{seed}" / dataset.name
    config, inputs = {"questions": number}, {"dataset": dataset_sha256(data)}
    if not is_current(folder, STAGE, config, inputs, seed):
        write_dataset(take_questions(dataset, number, seed), folder)
        write_manifest(folder, STAGE, config, inputs, seed)
    return folder


def take_questions(dataset: Dataset, number: int, seed: int) -> Dataset:
    """The data set with `number` of its training questions; those left out are gone, unless another split asks them, too."""
    train = dataset.qrels["train"].judgements
    order = sorted(train)
    random.Random(seed).shuffle(order)
    kept = set(order[:number])
    elsewhere = {query_id for split, qrels in dataset.qrels.items() if split != "train" for query_id in qrels}
    left_out = set(train) - kept - elsewhere
    judged = Qrels({query_id: gains for query_id, gains in train.items() if query_id in kept})
    queries = {query_id: query for query_id, query in dataset.queries.items() if query_id not in left_out}
    return replace(dataset, queries=queries, qrels={**dataset.qrels, "train": judged})
