"""Topics of MQTT with names in them: `frigate/{camera}/{label}/snapshot`, `zigbee2mqtt/{device*}/availability`."""

from __future__ import annotations

import re
from collections.abc import Iterable

_LEVEL = re.compile(r"\{([a-z][a-z_]*)(\*?)\}")
NAMES_OF_OURS = frozenset({"digest", "time", "topic", "record_key", "place"})


class TopicPattern:
    """`{name}` is one level, `{name*}` one or more, any other level stands for itself.

    Attributes:
        names: what is named in it.
        filter: what to subscribe to; it may bring more than what matches.
    """

    def __init__(self, text: str) -> None:
        """Raises ValueError: it is none, with the reason as a phrase."""
        levels, self.text = text.split("/"), text
        self.names: tuple[str, ...] = ()
        filtered, parts = list[str](), list[str]()
        for level in levels:
            found = _LEVEL.fullmatch(level)
            if found is None and re.search(r"[{}+#\x00]", level):
                raise ValueError(f"level {level!r} is neither plain text nor {{name}} nor {{name*}}, of a-z and _")
            if found is not None and (found[1] in self.names or found[1] in NAMES_OF_OURS):
                raise ValueError(f"{{{found[1]}}} is named twice, or a name that is given already")
            self.names += (found[1],) if found else ()
            several = found is not None and found[2] == "*"
            parts.append(f"(?P<{found[1]}>{'.+' if several else '[^/]+'})" if found else re.escape(level))
            if not filtered or filtered[-1] != "#":
                filtered.append(("#" if several else "+") if found else level)
        self.filter = "/".join(filtered)
        self._pattern = re.compile("/".join(parts), re.DOTALL)

    def match(self, topic: str) -> dict[str, str] | None:
        """What the names stand for; None: it does not match."""
        found = self._pattern.fullmatch(topic)
        return None if found is None else found.groupdict()


def filters_of(patterns: Iterable[TopicPattern]) -> list[str]:
    """The least that brings all: a broker may send a message twice that two filters of a client match."""
    wanted = list(dict.fromkeys(pattern.filter for pattern in patterns))
    return [one for one in wanted if not any(one != other and _covers(other, one) for other in wanted)]


def _covers(wide: str, narrow: str) -> bool:
    """Whether all that `narrow` brings is brought by `wide`."""
    theirs, ours = wide.split("/"), narrow.split("/")
    open_end = theirs[-1] == "#"
    theirs = theirs[:-1] if open_end else theirs
    if len(ours) < len(theirs) or (not open_end and (len(ours) != len(theirs) or ours[-1] == "#")):
        return False
    return all(level == other or (level == "+" and other != "#") for level, other in zip(theirs, ours, strict=False))
