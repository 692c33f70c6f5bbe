"""The command `genir`: one thin command a stage. Data goes to stdout, progress to stderr.

A fault that the user can mend is one line on stderr and exit code 1; wrong usage exits with 2; anything else keeps its traceback,
because it is ours. Ctrl-C and SIGTERM end a command with 1, too. Heavy imports stay inside the commands, so that `genir --help` answers
at once.
"""

import errno
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

# Read by OpenMP, when torch is first imported: spinning threads cost 10 to 30 times where another process shares the cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Read by torch: large tensors in large pages. A search makes and frees many, and small pages cost more than the work on them.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import typer

from experiments.commands import answer, bench, data, dense, joint, journey, llm, model, rag, reader, serve
from genir import __version__
from genir.errors import GenirError

_INTERRUPTED = 130  # what typer makes of Ctrl-C
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_BAD_PATH = (
    *(errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP),
)

app = typer.Typer(
    name="genir",
    help="Generative retrieval and grounded question answering: a model that is the index.\n\n"
    "The stages, each a folder that the next one reads: data import -> docids build -> train -> search -> evaluate -> answer. "
    "To see the whole journey on embedded data, offline: genir demo.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data.data_app, name="data")
app.add_typer(data.docids_app, name="docids")
app.add_typer(journey.experiment_app, name="experiment")
app.add_typer(bench.bench_app, name="bench")
app.command("train")(model.train)
app.command("train-terms")(model.train_terms)
app.command("train-rerank")(model.train_rerank)
app.command("train-dense")(dense.train_dense)
app.add_typer(reader.reader_app, name="train-reader")
app.add_typer(dense.tune_app, name="tune")
app.command("train-joint")(joint.train_joint)
app.command("search")(model.search)
app.command("evaluate")(model.evaluate)
app.command("answer")(answer.answer)
app.command("answer-joint")(joint.answer_joint)
app.command("measure-joint")(joint.measure_joint)
app.command("serve")(serve.serve)
app.add_typer(rag.rag_app, name="rag")
app.command("generate")(llm.generate)
app.command("plan")(llm.plan)
app.command("serve-llm")(llm.serve_llm)
app.command("demo")(journey.demo)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"genir {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of the program itself."""
    from genir.devices import quiet_libraries

    quiet_libraries()
    warnings.formatwarning = _one_line  # type: ignore[assignment]


def _one_line(message: Warning | str, *_: object) -> str:
    """A warning without the source line that Python adds."""
    return f"warning: {message}\n"


def main() -> None:
    """Entry point: run the app, turn users' faults into one line and exit code 1."""
    try:
        with _ended_in_order():
            app(prog_name="genir")
    except GenirError as error:
        sys.exit(_fail(str(error)))
    except SystemExit as stop:
        if stop.code == _INTERRUPTED:
            sys.exit(_fail("interrupted"))
        raise
    except OSError as error:
        path = error.filename2 or error.filename  # of a rename, what it was to become
        if error.errno in _DISK_FULL:
            sys.exit(_fail(f"the disk is full ({path or 'while writing'}); nothing half-written was kept"))
        if error.errno in _BAD_PATH and path:
            sys.exit(_fail(f"{path}: {error.strerror}; give another path, or mend its permissions"))
        raise
    except Exception as error:  # safetensors and tokenizers write by themselves, and say so in words only
        if "No space left on device" in str(error):
            sys.exit(_fail("the disk is full (while writing weights); nothing half-written was kept"))
        raise


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does, so that whoever has started processes or written half a file can tidy up."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python allows no handlers here
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(_INTERRUPTED))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _fail(message: str) -> int:
    print(f"genir: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    main()
