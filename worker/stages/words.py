"""Evidence -> sentences, in English or Chinese. Each is made from fields of the result, so that it can be checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from schemas.names import ASKS

_ENGLISH = {
    "verdict": "The verdict is {label}, with a score of {score:.2f}.",
    "by_itself": "The model by itself says {label}, with a score of {score:.2f}.",
    "ruled": "The rule {name} makes it {then}: {reason}.",
    "asked": "The rule {name} asks a person: {reason}.",
    "open": "It is left open between {labels}.",
    "set": "What cannot be ruled out: {labels}.",
    "familiar": "Of known data {share:.1%} is as strange as this or stranger.",
    "alone": "{name} alone says {label} ({score:.2f}).",
    "agree": "The inputs agree.",
    "differ": "The inputs do not agree.",
    "stays": "Without {name} it is still {label} ({score:.2f}).",
    "flips": "Without {name} it would be {label} ({score:.2f}).",
    "base": "Without any input the score of {label} would be {score:.2f}.",
    "adds": "{name} adds {value:.2f} to it.",
    "takes": "{name} takes {value:.2f} from it.",
    "places": "In {name} most weight lies on {places}.",
    "cell": "row {row}, column {column} of 7",
    "step": "step {step}",
    "number": "{name} is {number:g}{unit}, between {low:g} and {high:g}.",
    "label": "{name} is {label} ({score:.2f}).",
    "labels": "{name}: {labels}.",
    "no_labels": "{name}: none.",
    "never_seen": "{name} is missing: no event of this key is known.",
    "out_of_tolerance": "{name} is missing: no event of this key lies within the bounds.",
    "payload_expired": "{name} is missing: its event is no longer kept.",
    "undecodable": "{name} is missing: its event cannot be decoded.",
    "shed": "{name} is missing: it was shed.",
    "incomplete": "The wait ended before all that could match had come.",
    "and": ", ",
    "between": " ",
}
_CHINESE = {
    "verdict": "结论是{label}，得分{score:.2f}。",
    "by_itself": "模型本身的结论是{label}，得分{score:.2f}。",
    "ruled": "规则{name}将结论定为{then}：{reason}。",
    "asked": "规则{name}要求人工复核：{reason}。",
    "open": "尚不能区分：{labels}。",
    "set": "不能排除：{labels}。",
    "familiar": "已知数据中有{share:.1%}与此同样或更为陌生。",
    "alone": "单看{name}，结论是{label}（{score:.2f}）。",
    "agree": "各输入一致。",
    "differ": "各输入不一致。",
    "stays": "去掉{name}，结论仍是{label}（{score:.2f}）。",
    "flips": "去掉{name}，结论会变为{label}（{score:.2f}）。",
    "base": "没有任何输入时，{label}的得分为{score:.2f}。",
    "adds": "{name}使得分增加{value:.2f}。",
    "takes": "{name}使得分减少{value:.2f}。",
    "places": "{name}中权重最大的是{places}。",
    "cell": "第{row}行第{column}列（共7）",
    "step": "第{step}步",
    "number": "{name}为{number:g}{unit}，介于{low:g}与{high:g}之间。",
    "label": "{name}为{label}（{score:.2f}）。",
    "labels": "{name}：{labels}。",
    "no_labels": "{name}：无。",
    "never_seen": "缺少{name}：该键没有任何事件。",
    "out_of_tolerance": "缺少{name}：该键没有事件落在时间范围内。",
    "payload_expired": "缺少{name}：其事件已不再保留。",
    "undecodable": "缺少{name}：其事件无法解码。",
    "shed": "缺少{name}：因过载而舍弃。",
    "incomplete": "等待在所有可能匹配的事件到达之前结束。",
    "and": "、",
    "between": "",
}
LANGUAGES = {"en": _ENGLISH, "zh": _CHINESE}


def told(result: Mapping[str, Any], evidence: Mapping[str, Any], language: str) -> str:
    """`evidence.text` of a result.

    Args:
        result: its fields `label`, `confidence`, `heads`, `missing` and `complete` are told too.
        evidence: of the same result.
        language: one of LANGUAGES.
    """
    return LANGUAGES[language]["between"].join(sentences(result, evidence, language))


def sentences(result: Mapping[str, Any], evidence: Mapping[str, Any] | None, language: str) -> list[str]:
    """As `told`, one by one; without `evidence` what else the result says."""
    words = LANGUAGES[language]
    found = (*_rule(result), *_doubts(result, words)) if evidence is None else _sentences(result, evidence, words)
    return [words[name].format(**fields) for name, fields in (*found, *_heads(result, words), *_gaps(result))]


_Said = Iterator[tuple[str, dict[str, Any]]]  # the name of each sentence and what stands in it


def _sentences(result: Mapping[str, Any], evidence: Mapping[str, Any], words: Mapping[str, str]) -> _Said:
    rule = result.get("rule")
    label = rule["label"] if rule else result["label"]
    yield "by_itself" if rule else "verdict", {"label": label, "score": evidence["confidence"]}
    yield from _rule(result)
    if evidence["undecided"]:
        yield "open", {"labels": words["and"].join(evidence["undecided"])}
    yield from _doubts(result, words)
    for name, said in evidence["alone"].items():
        yield "alone", {"name": name, **said}
    if len(evidence["alone"]) > 1:
        yield "agree" if evidence["agree"] else "differ", {}
    for name, said in evidence["without"].items():
        yield "flips" if name in evidence["flips"] else "stays", {"name": name, **said}
    yield "base", {"label": label, "score": evidence["base"]}
    for name, value in evidence["adds"].items():
        yield "adds" if value >= 0 else "takes", {"name": name, "value": abs(value)}
    for name, places in evidence["places"].items():
        if places:
            yield "places", {"name": name, "places": words["and"].join(_place(one, words) for one in places)}


def _rule(result: Mapping[str, Any]) -> _Said:
    if rule := result.get("rule"):
        reason = rule["reason"].rstrip(".。")
        yield "asked" if rule["then"] == ASKS else "ruled", {**rule, "reason": reason}


def _doubts(result: Mapping[str, Any], words: Mapping[str, str]) -> _Said:
    if confidence := result.get("confidence"):
        yield "set", {"labels": words["and"].join(confidence["set"])}
        yield "familiar", {"share": confidence["familiar"]}


def _heads(result: Mapping[str, Any], words: Mapping[str, str]) -> _Said:
    for name, said in result.get("heads", {}).items():
        if "number" in said:
            yield "number", {"name": name, **said, "unit": f" {said['unit']}" if "unit" in said else ""}
        elif "label" in said:
            yield "label", {"name": name, **said}
        else:
            labels = words["and"].join(f"{one} ({said['scores'][one]:.2f})" for one in said["labels"])
            yield "labels" if labels else "no_labels", {"name": name, "labels": labels}


def _gaps(result: Mapping[str, Any]) -> _Said:
    for name, reason in result["missing"].items():
        yield reason, {"name": name}
    if not result["complete"]:
        yield "incomplete", {}


def _place(place: Mapping[str, Any], words: Mapping[str, str]) -> str:
    """Rows, columns and steps are counted from 1."""
    if "token" in place:
        return f'"{place["token"]}"'
    if "row" in place:
        return words["cell"].format(row=place["row"] + 1, column=place["column"] + 1)
    return words["step"].format(step=place["step"] + 1)
