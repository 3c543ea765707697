"""How a model was exported -> its card: what was done, what it costs, and the card of the model it was made from."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

from worker.exporting.command import KINDS
from worker.exporting.make import Source
from worker.model.served import Served


def card(arguments: Namespace, kind: str, made: Served, source: Source, lines: Sequence[str], command: str) -> str:
    """In Markdown, with the head that model hubs read."""
    head, before = _divided(source)
    how = {
        "int8": "The scales of activations are constants, found on the dev split.",
        "pruned": f"{arguments.prune:.0%} of the inner channels went; trained on for {arguments.epochs} epochs.",
    }
    return "\n".join(
        [
            *head, "", f"# {made.config.name}, {kind}", "",
            f"- **What**: {KINDS[kind]}. {how.get(kind, '')}".rstrip(),
            f"- **Made from**: `{source.model.config.name}`, version `{source.version}`; this is `{made.version}`.",
            f"- **Made by**: `{command}`, on {source.data.about}.",
            "", f"## Measured on the test split ({len(source.tested)} samples)", "",
            f"{_accuracy(source)}Speed on the machine that made it, {arguments.rounds} rounds in turn, as medians; "
            "ratios to the original in the same round with their range, by clock and by processor time.", "",
            "```", *lines, "```", "", "## The card of the model it was made from", *before, "",
        ]
    )  # fmt: skip


def _accuracy(source: Source) -> str:
    """A model without a label has none."""
    return "Accuracy per presence pattern. " if source.model.config.has_label else ""


def _divided(source: Source) -> tuple[list[str], list[str]]:
    """The head of the original's card, and what comes after it, without its pictures, a level deeper."""
    file = source.folder / "README.md"
    lines = file.read_text().splitlines() if file.is_file() else []
    end = lines.index("---", 1) + 1 if lines[:1] == ["---"] and "---" in lines[1:] else 0
    head = lines[:end] or ["---", "library_name: fusion-worker", "---"]
    kept = [line for line in lines[end:] if not line.startswith("![")]
    told = [f"#{line}" if line.startswith("#") else line for line in kept] or ["", "It had none."]
    return head, told
