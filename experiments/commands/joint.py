"""`genir train-joint`, `genir answer-joint`, `genir measure-joint`: one model that writes the identifier of its evidence, then answers."""

from pathlib import Path
from typing import Annotated

import typer

from experiments.commands.options import Data, Device, Json, Replace, Resume, rise

Joint = Annotated[Path, typer.Option("--model", help="Folder made by `genir train-joint`.", show_default=False)]


def train_joint(
    data: Data,
    docids: Annotated[Path, typer.Option("--docids", help="Folder made by `genir docids build`.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="Folder of the model to make.", show_default=False)],
    config: Annotated[
        Path | None, typer.Option("--config", help="TOML file of settings.", show_default="built-in defaults")
    ] = None,
    answers_of: Annotated[
        Path | None,
        typer.Option(
            "--answers-of",
            metavar="FILE",
            help="Ids of training questions, one a line: only their answers are learnt; the others teach identifiers alone.",
            show_default="all",
        ),
    ] = None,
    max_minutes: Annotated[
        float | None,
        typer.Option(
            "--max-minutes",
            min=0,
            help="Stop at the first step after so long and keep the best weights; 0 for no limit.",
            show_default="config's",
        ),
    ] = None,
    resume: Resume = False,
    replace: Replace = False,
) -> None:
    """Teach one causal language model to write the identifier of its evidence and, given that passage, the answer: one sequence, one loss.

    The dev split is answered at every evaluation, the untrained start included, and the best weights are kept. Ctrl-C leaves a checkpoint;
    --resume goes on from there. A finished folder of the same inputs and configuration is reused.
    """
    from experiments.joint.evaluation import read_ids
    from experiments.joint.learning import train_joint as run
    from experiments.joint.settings import JointConfig

    answered = None if answers_of is None else read_ids(answers_of)
    facts = run(data, docids, JointConfig.read(config, max_minutes), out, resume, answered, replace)["facts"]
    print(
        f"{out}: {facts['parameters'] / 1e6:.1f} M parameters, {facts['examples']} examples, {facts['training_seconds']:.0f} s; "
        f"{facts['measure']}: {rise(facts['start_dev'], facts['best_dev'])}"
    )


def answer_joint(
    question: Annotated[str, typer.Argument(help="The question.")],
    data: Data,
    model: Joint,
    k: Annotated[int, typer.Option("-k", help="Documents of the ranking to show; the best one is read.")] = 3,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Answer a question in one generation: identifier, passage, answer. Shows the identifiers that the beams held, and the source."""
    from experiments.joint.evaluation import answer_together
    from experiments.joint.learning import load_joint
    from experiments.retrieval import check_question
    from experiments.tables import figure, plain, show_facts
    from genir.errors import ConfigError
    from genir.formats import load_dataset
    from genir.records import Query

    if k < 1:
        raise ConfigError(f"-k {k}: expected at least 1 document")
    check_question(question)
    joint = load_joint(model, load_dataset(data), data, device)
    [found] = answer_together(joint, [Query("q1", question)], k)
    if as_json:
        show_facts(plain(found), as_json=True)
        return
    print(figure(found.text))
    for citation in found.citations:
        title = joint.passages[citation.doc_id].title or citation.doc_id
        place = f"{citation.doc_id}, characters {citation.start} to {citation.end}; identifier {citation.identifier}"
        print(figure(f"  [{title}] {citation.text}  ({place})"))
    for rank, one in enumerate(found.passages, 1):
        _, identifier = joint.written([one.doc_id])[one.doc_id]
        print(figure(f"  {rank}. {identifier}  {one.score:.3f}  ({one.doc_id})"))


def measure_joint(
    data: Data,
    model: Joint,
    out: Annotated[Path, typer.Option("--out", help="Folder for summary.json and answers.jsonl.", show_default=False)],
    split: Annotated[str, typer.Option("--split", help="Questions to ask.")] = "test",
    only: Annotated[
        Path | None,
        typer.Option("--only", metavar="FILE", help="Ids of the questions to ask, one a line.", show_default="all"),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Ask so many, from all over the split; 0 for all.")] = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Measure a joint model: its identifiers, and its answers from its own evidence, from the right passage and from a wrong one."""
    from experiments.joint.evaluation import measure, read_ids, table
    from experiments.tables import show, show_facts

    figures = measure(data, model, out, split, None if only is None else read_ids(only), limit, device)
    if as_json:
        show_facts(figures, as_json=True)
        return
    show(
        *table(figures),
        title=f"{figures['questions']} questions of {split}; Success@1 {figures['Success@1']['mean']:.3f}",
    )
