"""Saving and loading: the same answers, mapped memory that processes share, and no damage goes unnoticed."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from genir.constraints import PrefixTree
from genir.constraints.sealed_file import write_sealed
from genir.errors import ArtefactError
from tests.identifier_walks import Identifier, expected, walk

DOCUMENTS = {0: (1, 2), 1: (1, 3, 4), 2: (2,), 3: (1, 3, 4), 4: (1,)}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "tree.safetensors"
    PrefixTree.build(list(DOCUMENTS.values()), 50).save(path)
    return path


def test_the_same_answers(saved: Path) -> None:
    tree = PrefixTree.load(saved)
    assert walk(tree) == expected(DOCUMENTS)
    assert tree.vocab_size == 50
    assert tree.num_documents == 5
    assert walk(tree.with_documents([(1, 3, 4)])) == expected({**DOCUMENTS, 5: (1, 3, 4)})


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=4).map(tuple), max_size=5), st.sets(st.integers(0, 4)))
def test_updates_are_saved(saved: Path, more: list[Identifier], gone: set[int]) -> None:
    tree = PrefixTree.load(saved).with_documents(more).without_documents(gone)
    tree.save(saved.with_name("patched.safetensors"))
    again = PrefixTree.load(saved.with_name("patched.safetensors"))
    live = {
        number: identifier
        for number, identifier in {**DOCUMENTS, **dict(enumerate(more, 5))}.items()
        if number not in gone
    }
    assert walk(again) == walk(tree) == expected(live)
    assert walk(again.with_documents([(9,)])) == expected({**live, 5 + len(more): (9,)})


def test_saving_a_second_time_gives_the_same_bytes(saved: Path) -> None:
    PrefixTree.load(saved).save(saved.with_name("again"))
    assert saved.with_name("again").read_bytes() == saved.read_bytes()


def test_every_flipped_byte_is_noticed(saved: Path) -> None:
    content = saved.read_bytes()
    damaged = saved.with_name("damaged")
    for place in range(len(content)):
        damaged.write_bytes(content[:place] + bytes([content[place] ^ 0x01]) + content[place + 1 :])
        with pytest.raises(ArtefactError, match="prefix tree") as error:
            PrefixTree.load(damaged)
        assert "\n" not in str(error.value)


def test_every_shorter_file_is_noticed(saved: Path) -> None:
    content = saved.read_bytes()
    damaged = saved.with_name("damaged")
    for size in [*range(0, 64), *range(64, len(content), 7), len(content) - 1]:
        damaged.write_bytes(content[:size])
        with pytest.raises(ArtefactError, match="prefix tree"):
            PrefixTree.load(damaged)
    damaged.write_bytes(content + b"\0")
    with pytest.raises(ArtefactError, match="its checksum does not fit its content; build it again"):
        PrefixTree.load(damaged)


def test_other_files(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    with pytest.raises(ArtefactError, match=r"other\.safetensors: not a readable prefix tree .*build it again"):
        PrefixTree.load(path)
    path.write_text("hello, this is a text and no tree")
    with pytest.raises(ArtefactError, match="not a readable prefix tree"):
        PrefixTree.load(path)
    save_file({"offsets": torch.zeros(2)}, path)
    with pytest.raises(ArtefactError, match=r"not a readable prefix tree \(no sealed safetensors file\)"):
        PrefixTree.load(path)
    write_sealed(path, "suffix array", 3, {}, {})
    with pytest.raises(
        ArtefactError, match="holds a suffix array of version 3, expected a prefix tree of version 1; build it again"
    ):
        PrefixTree.load(path)
    with pytest.raises(ArtefactError, match="not a readable prefix tree"):
        PrefixTree.load(tmp_path)


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux's /proc")
def test_processes_share_the_pages(tmp_path: Path) -> None:
    """Of two processes that read the whole file, none has pages of its own: Pss is about half of Rss."""
    path = tmp_path / "large.safetensors"
    PrefixTree.build(np.random.default_rng(0).integers(0, 2048, (100_000, 8)), 2048).save(path)
    script = (
        "import sys; from pathlib import Path; from genir.constraints import PrefixTree\n"
        "tree = PrefixTree.load(Path(sys.argv[1])); touched = [t.sum() for t in tree.arrays.tensors().values()]\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "text = Path('/proc/self/smaps').read_text(); name = Path(sys.argv[1]).name\n"
        "parts = [part for part in text.split('VmFlags')[:-1] if name in part]\n"
        "print(*(sum(int(p.split(k + ':')[1].split()[0]) for p in parts) for k in ('Rss', 'Pss', 'Private_Dirty')), flush=True)\n"
        "sys.stdin.readline()\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    try:
        for process in processes:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin
            assert process.stdout
            process.stdin.write("\n")
            process.stdin.flush()
            rss, pss, dirty = map(int, process.stdout.readline().split())
            assert rss * 1024 > 0.8 * path.stat().st_size
            assert pss < 0.6 * rss
            assert dirty == 0
    finally:
        for process in processes:
            process.communicate("\n")
