"""What was trained on what, how well it does and where not -> the model card, README.md of the model's folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from worker.model.config import FusionConfig
from worker.model.heads import Heads
from worker.training.evaluate import Measured, confidence_rows, first_of, rows_of
from worker.training.findings import Findings
from worker.training.groups import rows_of_groups
from worker.training.head_measures import head_rows
from worker.training.ranking import ranking_rows
from worker.training.spoiled import TOGETHER, spoiled_rows


@dataclass(frozen=True, slots=True)
class Trained:
    """What the card tells beside the configuration.

    Attributes:
        command: that made it.
        counts: samples per split.
        about: the data, in a sentence.
        license: of the weights.
        origins: where encoders got their first weights, with the licence of these.
        share: the part of the weights that was trained.
        notes: what is to be told of the training beside, a sentence each.
    """

    command: str
    counts: Mapping[str, int]
    about: str
    license: str
    seed: int
    origins: Sequence[str]
    share: float
    minutes: float
    notes: Sequence[str] = ()


def card(trained: Trained, findings: Findings) -> str:
    """The card, in Markdown with the head that model hubs read."""
    config, measured = findings.config, findings.measured
    counts = ", ".join(f"{count} {split}" for split, count in trained.counts.items())
    origins = list(trained.origins) or ["no weights but those trained here"]
    return "\n".join(
        [
            "---", f"license: {trained.license}", "library_name: fusion-worker", "tags: [multimodal, fusion]", "---",
            "", f"# {config.name}", "",
            f"{_says(findings)}. Inputs: {_inputs(config)}. "
            f"Fusion: {config.fusion}, D = {config.dim}. Image backbone: {config.backbone}.", "",
            f"- **Data**: {trained.about}; {counts}.",
            f"- **Personal data** in it {'was masked ([privacy])' if config.masked else 'was not masked'}.",
            f"- **Made by**: `{trained.command}`, seed {trained.seed}, {trained.minutes:.1f} minutes; "
            f"{trained.share:.1%} of the weights were trained.",
            f"- **Began from**: {'; '.join(origins)}.",
            *[f"- {note[0].upper()}{note[1:]}." for note in trained.notes],
            *_calibrated(findings),
            "", "## Measured on the test split", "", *_label(findings), *_heads(config, measured),
            *_ranking(findings), *fair_and_robust(findings), _pictures(findings),
            "", "## Limits", "", *[f"- {one}" for one in _limits(findings)], "",
        ]
    )  # fmt: skip


def _says(findings: Findings) -> str:
    if not findings.has_label:
        return f"No label; heads: {_head_names(findings.config)}"
    return f"Labels: {', '.join(f'`{name}`' for name in first_of(findings.measured).names)}"


def _head_names(config: FusionConfig) -> str:
    return ", ".join(f"`{head.name}` ({head.kind})" for head in Heads(config.heads).each)


def _calibrated(findings: Findings) -> list[str]:
    if not findings.has_label:
        return []
    told = f"temperatures {_temperatures(findings.config)}"
    return [f"- **Scores** are calibrated on the dev split, by what is present: {told}."]


def _label(findings: Findings) -> list[str]:
    """What is measured of the label; nothing without one."""
    measured = findings.measured
    if not findings.has_label:
        return []
    report = first_of(measured).report.rstrip()
    return ["```", *rows_of(measured), "", report, "```", "", *_confidence(measured)]


def _pictures(findings: Findings) -> str:
    shown = ("confusion", "reliability", "curves") if findings.has_label else ("curves",)
    return " ".join(f"![{name}]({name}.png)" for name in shown)


def _confidence(measured: Mapping[str, Measured]) -> list[str]:
    if not (rows := confidence_rows(measured)):
        return []
    told = "What it knows of its verdicts (`confidence` in results; fitted on the train and the dev split):"
    return [told, "", "```", *rows, "```", ""]


def _heads(config: FusionConfig, measured: Mapping[str, Measured]) -> list[str]:
    if not (rows := head_rows(config, measured)):
        return []
    label = " beside its label, which all other tables are about" if first_of(measured).has_label else ""
    told = f"What it says{label} (`heads` in results; thresholds and bands fitted on the dev split):"
    return [told, "", "```", *rows[:-1], "```", ""]


def _ranking(findings: Findings) -> list[str]:
    told = "How well scores put the samples of a label before the others (one label against the rest):"
    rows = ranking_rows(findings.ranking)
    return [told, "", "```", *rows, "```", ""] if rows else []


def fair_and_robust(findings: Findings) -> list[str]:
    """The tables by group, of spoiled inputs and of the adversarial step, as far as they were made."""
    lines = [line for one in findings.groups for line in ("```", *rows_of_groups(one), "```", "")]
    if lines:
        lines = ["By group (a gap within what chance makes tells nothing):", "", *lines]
    rows = spoiled_rows(findings.spoiled, findings.probe)
    return [*lines, *(["Spoiled on their way:", "", "```", *rows, "```", ""] if rows else [])]


def _temperatures(config: FusionConfig) -> str:
    told = [config.calibration, *config.calibrations.values()]
    return f"{min(told):.3f} to {max(told):.3f}"


_STRANGE = "`confidence.familiar` near 0 says that its inputs are like none that it was trained on."
_ELSEWHERE = "It was measured on data that came from where its training data came from; elsewhere it will do worse."


def _limits(findings: Findings) -> list[str]:
    measured = findings.measured
    if not findings.has_label:
        return [
            f"It says {_head_names(findings.config)} of any input, and nothing else. {_STRANGE}",
            _ELSEWHERE,
            "What spoiled inputs cost it, and whether it does alike for all groups, is not measured without a label.",
        ]
    full = first_of(measured)
    weakest = min(range(len(full.names)), key=lambda n: _recall(full, n))
    limits = [
        f"It tells {len(full.names)} labels apart and nothing else; any input gets one of them. {_STRANGE}",
        f"The label it misses most is `{full.names[weakest]}`: {_recall(full, weakest):.1%} of them are found.",
        _ELSEWHERE,
    ]
    if len(measured) > 1:
        seen = [name for name, one in measured.items() if len(one.truth)]
        worst = min(seen, key=lambda name: measured[name].accuracy)
        limits.append(f"Its weakest presence pattern is `{worst}`, with accuracy {measured[worst].accuracy:.3f}.")
    if findings.spoiled:
        worst_way = max((one for one in findings.spoiled if one.name != TOGETHER), key=lambda one: one.fall[0])
        limits.append(
            f"Of what spoils one input alone `{worst_way.modality} {worst_way.name}` costs most: accuracy "
            f"{worst_way.spoiled.accuracy:.3f} at {worst_way.strength}."
        )
    else:
        limits.append("It was trained on inputs as they are; `evaluate --robust` tells what spoiled ones cost.")
    return limits


def _recall(measured: Measured, number: int) -> float:
    row = measured.confusion[number]
    return float(row[number] / row.sum()) if row.sum() else 1.0


def _inputs(config: FusionConfig) -> str:
    return ", ".join(f"`{name}` ({modality})" for name, modality in zip(config.names, config.inputs, strict=True))
